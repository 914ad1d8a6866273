use super::window::Windows;
use tract_onnx::prelude::tract_ndarray::{self, Array3, ArrayViewD, Axis, Dimension, s};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat};
use tract_onnx::tract_core::ops::nn::DataFormat;

/// The input's gradient of a convolution over any number of spatial axes: `(gradient, kernel)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvInputGradient {
    /// The operator.
    pub conv: Conv,
    /// The shape of its input.
    pub input_shape: TVec<usize>,
}

impl Op for ConvInputGradient {
    fn name(&self) -> StaticName {
        "ConvInputGradient".into()
    }
    op_as_typed_op!();
}

impl TypedOp for ConvInputGradient {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].datum_type.fact(&*self.input_shape)))
    }
    as_op!();
}

impl EvalOp for ConvInputGradient {
    op_out_of_plan!();
    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let ConvInputGradient { conv, input_shape } = self;
        let windows = Windows::new(&conv.pool_spec, input_shape);
        let format = conv.pool_spec.data_format;
        let kernel = inputs[1].cast_to::<f32>()?;
        let kernel = as_tap_output_input(kernel.to_plain_array_view()?, conv.kernel_fmt)?;
        let outputs_per_group = conv.output_channels() / conv.group;
        let inputs_per_group = conv.input_channels() / conv.group;

        // Both as `[batch, positions, channels]`, so that the inner loops run over neighbours.
        let gradient = inputs[0].to_plain_array_view()?;
        let output = format.shape(gradient.shape())?.hw_dims().to_vec();
        let input = format.shape(&input_shape[..])?.hw_dims().to_vec();
        let gradient = as_channels_last(gradient, format)?;
        let (batch, _, _) = gradient.dim();
        let positions = input.iter().product::<usize>();
        let mut result = Array3::<f32>::zeros((batch, positions, conv.input_channels()));
        for (at, index) in tract_ndarray::indices(&*output).into_iter().enumerate() {
            for tap in windows.under(index.slice()) {
                let into = tap.position.iter().zip(&input).fold(0, |at, (&i, &n)| at * n + i);
                for n in 0..batch {
                    for group in 0..conv.group {
                        let (o, i) = (group * outputs_per_group, group * inputs_per_group);
                        let mut into = result.slice_mut(s![n, into, i..i + inputs_per_group]);
                        for output in o..o + outputs_per_group {
                            let weight = gradient[[n, at, output]];
                            into.scaled_add(weight, &kernel.slice(s![tap.index, output, ..]));
                        }
                    }
                }
            }
        }
        let channels_last = format.c_is_last();
        let result = if channels_last { result } else { result.permuted_axes([0, 2, 1]) };
        let result = result.as_standard_layout().into_owned();
        Ok(tvec!(result.into_shape_with_order(&**input_shape)?.into_tvalue()))
    }
}

/// `[batch, positions, channels]`; a batch of one where it has none.
fn as_channels_last(array: ArrayViewD<f32>, format: DataFormat) -> TractResult<Array3<f32>> {
    let array = if format.has_n() { array } else { array.insert_axis(Axis(0)) };
    let (batch, last) = (array.shape()[0], array.ndim() - 1);
    let channels = array.shape()[if format.c_is_last() { last } else { 1 }];
    let positions = array.len().checked_div(batch * channels).unwrap_or(0);
    let array = array.as_standard_layout().into_owned();
    Ok(if format.c_is_last() {
        array.into_shape_with_order((batch, positions, channels))?
    } else {
        let array = array.into_shape_with_order((batch, channels, positions))?;
        array.permuted_axes([0, 2, 1]).as_standard_layout().into_owned()
    })
}

/// `[kernel position, output channel, input channel of the group]`.
fn as_tap_output_input(kernel: ArrayViewD<f32>, format: KernelFormat) -> TractResult<Array3<f32>> {
    let (outputs, inputs) = (format.o_axis(kernel.shape()), format.i_axis(kernel.shape()));
    let spatial = (0..kernel.ndim()).filter(|&axis| axis != outputs && axis != inputs);
    let order: Vec<usize> = spatial.chain([outputs, inputs]).collect();
    let kernel = kernel.permuted_axes(order);
    let (taps, last) = (kernel.len(), kernel.ndim() - 1);
    let channels = (kernel.shape()[last - 1], kernel.shape()[last]);
    let taps = taps / (channels.0 * channels.1).max(1);
    let kernel = kernel.as_standard_layout().into_owned();
    Ok(kernel.into_shape_with_order((taps, channels.0, channels.1))?)
}
