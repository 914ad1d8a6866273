use super::window::Windows;
use tract_onnx::prelude::tract_ndarray::{Array4, ArrayD, ArrayViewD, Axis, Ix4, s};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat};
use tract_onnx::tract_core::ops::nn::DataFormat;

/// The input's gradient of a convolution over rows and columns: `(gradient, kernel)`.
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
        let kernel = as_row_column_output_input(kernel.to_plain_array_view()?, conv.kernel_fmt)?;
        let outputs_per_group = conv.output_channels() / conv.group;
        let inputs_per_group = conv.input_channels() / conv.group;

        // Both with the channels last, so that the inner loops run over neighbours.
        let gradient = as_nhwc(inputs[0].to_plain_array_view()?, format)?;
        let mut result = Array4::<f32>::zeros(nhwc_shape(input_shape, format)?);
        let (batch, rows, columns, _) = gradient.dim();
        for n in 0..batch {
            for row in 0..rows {
                for column in 0..columns {
                    for ((kr, kc), (r, c)) in windows.under(row, column) {
                        for group in 0..conv.group {
                            let (o, i) = (group * outputs_per_group, group * inputs_per_group);
                            let mut into = result.slice_mut(s![n, r, c, i..i + inputs_per_group]);
                            for output in o..o + outputs_per_group {
                                let weight = gradient[[n, row, column, output]];
                                into.scaled_add(weight, &kernel.slice(s![kr, kc, output, ..]));
                            }
                        }
                    }
                }
            }
        }
        let result = if format.c_is_last() { result } else { result.permuted_axes([0, 3, 1, 2]) };
        let result = result.as_standard_layout().into_owned();
        Ok(tvec!(result.into_shape_with_order(&**input_shape)?.into_tvalue()))
    }
}

/// `[batch, rows, columns, channels]` of a shape in `format`; a batch of one where it has none.
fn nhwc_shape(shape: &[usize], format: DataFormat) -> TractResult<[usize; 4]> {
    let shape = format.shape(shape)?;
    let (rows, columns) = (shape.hw_dims()[0], shape.hw_dims()[1]);
    Ok([shape.n().copied().unwrap_or(1), rows, columns, *shape.c()])
}

fn as_nhwc(array: ArrayViewD<f32>, format: DataFormat) -> TractResult<Array4<f32>> {
    let array = if format.has_n() { array } else { array.insert_axis(Axis(0)) };
    let array = array.into_dimensionality::<Ix4>()?;
    let array = if format.c_is_last() { array } else { array.permuted_axes([0, 2, 3, 1]) };
    Ok(array.as_standard_layout().into_owned())
}

/// `[kernel row, kernel column, output channel, input channel of the group]`.
fn as_row_column_output_input(
    kernel: ArrayViewD<f32>,
    format: KernelFormat,
) -> TractResult<Array4<f32>> {
    let kernel: ArrayD<f32> = kernel.to_owned();
    let kernel = kernel.into_dimensionality::<Ix4>()?;
    let order = match format {
        KernelFormat::OIHW => [2, 3, 0, 1],
        KernelFormat::HWIO => [0, 1, 3, 2],
        KernelFormat::OHWI => [1, 2, 0, 3],
    };
    Ok(kernel.permuted_axes(order).as_standard_layout().into_owned())
}
