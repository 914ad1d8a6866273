//! Products: convolutions and products with constant weights.

use crate::graph::{View, float, int, volume};
use derm_onnx::message::{NodeProto, TensorProto};

/// A `Conv`, `Gemm` or `MatMul` whose weights are float32 constants.
pub(crate) struct Product<'a> {
    pub(crate) weights: &'a TensorProto,
    /// The constant that is the node's third input.
    pub(crate) bias: Option<&'a TensorProto>,
    /// The axis of the weights along which the output channels lie.
    pub(crate) axis: usize,
    pub(crate) outputs: usize,
    groups: usize,
    is_convolution: bool,
}

impl<'a> Product<'a> {
    /// The product that a node is; `None` of any other node.
    pub(crate) fn of(view: &View<'a>, node: &'a NodeProto) -> Option<Product<'a>> {
        view.activations(node).next().filter(|name| *name == node.input[0])?;
        let weights = view.float_input(node, 1)?;
        let rank = weights.dims.len();
        let has_bias = node.input.get(2).is_some_and(|name| !name.is_empty());
        let bias = view.float_input(node, 2);
        if has_bias && bias.is_none() || volume(weights) == 0 {
            return None;
        }
        let (axis, groups) = match node.op_type.as_str() {
            "Conv" if rank >= 3 => (0, usize::try_from(int(node, "group", 1)).ok()?),
            "Gemm" if rank == 2 && is_plain(node) => (usize::from(int(node, "transB", 0) == 0), 1),
            "MatMul" if rank == 2 => (1, 1),
            _ => return None,
        };
        let outputs = usize::try_from(weights.dims[axis]).ok()?;
        let fits = bias.is_none_or(|bias| volume(bias) == outputs);
        let is_convolution = node.op_type == "Conv";
        let divides = groups > 0 && outputs.is_multiple_of(groups);
        (fits && divides).then_some(Product {
            weights,
            bias,
            axis,
            outputs,
            groups,
            is_convolution,
        })
    }

    pub(crate) fn is_convolution(&self) -> bool {
        self.is_convolution
    }

    /// Number of input channels.
    pub(crate) fn inputs(&self) -> usize {
        let of_group = self.weights.dims[1 - self.axis.min(1)] as usize;
        of_group * self.groups
    }

    /// The output and the input channel of each weight, in the order in which they are stored.
    pub(crate) fn channels(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (outputs, groups) = (self.outputs, self.groups);
        let per_output = volume(self.weights) / outputs;
        let of_group = self.inputs() / groups;
        let taps = per_output / of_group;
        let axis = self.axis;
        (0..outputs * per_output).map(move |index| {
            if axis == 1 {
                return (index % outputs, index / outputs);
            }
            let output = index / per_output;
            let group = output / (outputs / groups);
            (output, group * of_group + index % per_output / taps)
        })
    }
}

/// Whether a `Gemm` is a product and a bias, without factors.
fn is_plain(node: &NodeProto) -> bool {
    int(node, "transA", 0) == 0
        && float(node, "alpha", 1.0) == 1.0
        && float(node, "beta", 1.0) == 1.0
}
