//! Convolution in two dimensions: groups, strides, dilations, padding, either data layout. The
//! gradient with respect to the input; the kernel and bias are constants of the graph.

use super::pool::Windows;
use super::{Call, Gradients, Rule};
use ndarray::{Array4, ArrayD, ArrayViewD, Axis, Ix4, s};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::ensure;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat};
use tract_onnx::tract_core::ops::nn::DataFormat;

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    let conv = op.downcast_ref::<Conv>()?;
    (conv.q_params.is_none() && conv.pool_spec.rank() == 2).then_some(Rule(gradient))
}

fn gradient(call: &Call) -> TractResult<Gradients> {
    let conv = call.op::<Conv>();
    ensure!(!call.wanted[1..].contains(&true), "the kernel is not a constant");
    let windows = Windows::new(&conv.pool_spec, call.operands[0].shape());
    let format = conv.pool_spec.data_format;
    let kernel = as_row_column_output_input(call.operand(1)?, conv.kernel_fmt)?;
    let outputs_per_group = conv.output_channels() / conv.group;
    let inputs_per_group = conv.input_channels() / conv.group;

    // Both with the channels last, so that the inner loops run over neighbours.
    let gradient = as_nhwc(call.gradient.view(), format)?;
    let mut result = Array4::<f32>::zeros(nhwc_shape(call.operands[0].shape(), format)?);
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
    Ok(call.first(result.into_shape_with_order(call.operands[0].shape())?))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::check::{check, values};
    use crate::rules::pool::tests::specs;

    #[test]
    fn kernels_of_many_shapes_and_groups() {
        for (pool_spec, shape) in specs(4) {
            for (group, format, order) in [
                (1, KernelFormat::OIHW, [2, 3, 0, 1]),
                (2, KernelFormat::OIHW, [2, 3, 0, 1]),
                (1, KernelFormat::OHWI, [1, 2, 0, 3]),
                (1, KernelFormat::HWIO, [0, 1, 3, 2]),
            ] {
                let mut kernel_shape = [0; 4];
                let sizes = [pool_spec.kernel_shape[0], pool_spec.kernel_shape[1], 4, 2 / group];
                for (size, axis) in sizes.into_iter().zip(order) {
                    kernel_shape[axis] = size;
                }
                let op = Conv::new(pool_spec.clone(), format, group, None);
                let operands = [values(&shape, 1), values(&kernel_shape, 3), values(&[4], 5)];
                check(&op, &operands, &[true, false, false]);
            }
        }
    }
}
