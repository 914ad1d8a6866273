//! Convolutions and poolings, channels last.

use super::{Lowering, op};
use crate::step::Action;
use crate::value::{Value, completed};
use derm_kernels::{ConvGeometry, ConvPlan, PackedConv, PoolGeometry, Pooling, Window, WindowAxis};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::TractErrorContext;
use tract_onnx::tract_core::ops::cnn::conv::KernelFormat;
use tract_onnx::tract_core::ops::cnn::{Conv, MaxPool, PaddingSpec, PoolSpec, SumPool};

pub(super) fn lower(lowering: &mut Lowering<'_>, node: &TypedNode) -> TractResult<bool> {
    if node.op_is::<Conv>() {
        return convolution(lowering, node);
    }
    if let Some(max) = node.op_as::<MaxPool>() {
        return match max.with_index_outputs {
            None => pooling(lowering, node, &max.pool_spec, Pooling::Max),
            Some(_) => Ok(false),
        };
    }
    if let Some(sum) = node.op_as::<SumPool>() {
        let Some(kind) = sum_pooling(sum) else { return Ok(false) };
        return pooling(lowering, node, &sum.pool_spec, kind);
    }
    Ok(false)
}

/// Rows and columns of a window over an input of these sizes; one axis gets a row of one.
pub(super) fn axes(spec: &PoolSpec, sizes: &[usize]) -> Option<[WindowAxis; 2]> {
    let padded = spec.computed_padding(sizes);
    let axis = |number: usize| {
        let window = Window {
            input: sizes[number],
            output: padded[number].convoluted,
            kernel: spec.kernel_shape[number],
            stride: spec.stride(number),
            dilation: spec.dilation(number),
            before: padded[number].pad_before,
        };
        WindowAxis::new(window).ok()
    };
    match sizes.len() {
        1 => Some([WindowAxis::ONE, axis(0)?]),
        2 => Some([axis(0)?, axis(1)?]),
        _ => None,
    }
}

/// The input with its channels last, its window's axes, and the order that the output has.
type Windowed = (Value, [WindowAxis; 2], Vec<usize>);

/// Puts the input's channels last; none where the window has more than two axes.
fn windowed(
    lowering: &mut Lowering<'_>,
    node: &TypedNode,
    spec: &PoolSpec,
) -> TractResult<Option<Windowed>> {
    let input = lowering.value(node.inputs[0])?;
    let shape = spec.data_format.shape(input.shape.clone())?;
    let Some(axes) = axes(spec, shape.hw_dims()) else { return Ok(None) };
    if shape.n().is_some_and(|&n| n != 1) {
        return Ok(None);
    }
    let mut last: Vec<usize> = shape.hw_axes().collect();
    last.push(shape.c_axis());
    let order = completed(input.shape.len(), &last);
    let input = lowering.in_order(input, order.clone());
    Ok(Some((input, axes, order)))
}

/// What a sum pooling becomes; none where how many places count depends on the place.
pub(super) fn sum_pooling(sum: &SumPool) -> Option<Pooling> {
    let ceiling = matches!(sum.pool_spec.padding, PaddingSpec::ExplicitOnnxPool(_, _, true));
    match (sum.normalize, sum.count_include_pad) {
        (false, _) => Some(Pooling::Sum),
        (true, false) => Some(Pooling::Mean),
        (true, true) => (!ceiling).then_some(Pooling::MeanWithPadding),
    }
}

fn pooling(
    lowering: &mut Lowering<'_>,
    node: &TypedNode,
    spec: &PoolSpec,
    pooling: Pooling,
) -> TractResult<bool> {
    let Some((input, axes, order)) = windowed(lowering, node, spec)? else {
        return Ok(false);
    };
    let channels = *spec.data_format.shape(input.shape.clone())?.c_dim();
    let shape = PoolGeometry::new(axes, channels)?;
    let action = Action::Pool { pooling, shape, input: input.buffer };
    let (step, buffer) = lowering.push_new(action, shape.output_len());
    lowering.set(node.id.into(), buffer, order, Some(step))?;
    Ok(true)
}

fn convolution(lowering: &mut Lowering<'_>, node: &TypedNode) -> TractResult<bool> {
    let conv: &Conv = op(node)?;
    let kernel = node.inputs[1];
    let known = lowering.is_constant(kernel)
        && node.inputs.get(2).is_none_or(|&bias| lowering.is_constant(bias));
    if !known || conv.q_params.is_some() || conv.kernel_fmt != KernelFormat::OIHW {
        return Ok(false);
    }
    let Some((input, axes, order)) = windowed(lowering, node, &conv.pool_spec)? else {
        return Ok(false);
    };
    let spec = &conv.pool_spec;
    let shape = ConvGeometry::new(axes, spec.input_channels, spec.output_channels, conv.group)?;
    let bias = match node.inputs.get(2) {
        None => None,
        Some(&bias) => {
            let view = lowering.constant(bias)?;
            let axes: Vec<usize> = (0..view.shape.len()).collect();
            let values: Vec<f32> = view.offsets(&axes).into_iter().map(|at| view.at(at)).collect();
            Some(if values.len() == 1 { vec![values[0]; shape.outputs()] } else { values })
        }
    };
    let view = lowering.constant(kernel)?;
    let spatial: Vec<usize> = (2..view.shape.len()).collect();
    let offsets = [view.offsets(&spatial), view.offsets(&[0]), view.offsets(&[1])];
    let kernel = lowering.kernel(kernel, &view, &shape, offsets, |isa, precision, offsets| {
        let [taps, outer, inner] = offsets;
        let weight = |o: usize, i: usize, tap: usize| view.at(outer[o] + inner[i] + taps[tap]);
        PackedConv::new(isa, precision, &shape, None, weight)
    });
    let kernel = kernel.with_bias(bias.as_deref());
    lowering.convolve(node.id.into(), kernel, shape, input.buffer, order).context("convolution")?;
    Ok(true)
}

impl Lowering<'_> {
    /// A convolution step whose output is `outlet`.
    pub(super) fn convolve(
        &mut self,
        outlet: OutletId,
        kernel: PackedConv,
        shape: ConvGeometry,
        input: usize,
        order: Vec<usize>,
    ) -> TractResult<()> {
        let plan = ConvPlan::new(kernel, &shape);
        // Scratch of one thread is whole cache lines.
        let scratch = self.buffer(plan.scratch_len().next_multiple_of(16) * self.workers);
        let action = Action::Conv { plan, input, then: Vec::new(), scratch };
        let (step, buffer) = self.push_new(action, shape.output_len());
        self.set(outlet, buffer, order, Some(step))
    }
}
