//! Transposed convolution: the gradient with respect to the input is a convolution by the same kernel.

use super::{Gradients, Rule, RuleContext};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{DimLike, ensure};
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::array::Slice;
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv, KernelFormat, PaddingSpec, PoolSpec};

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    op.is::<Deconv>().then_some(Rule(gradient))
}

fn gradient(ctx: &mut RuleContext) -> TractResult<Gradients> {
    if !ctx.builder.is_constant(ctx.node.inputs[1]) {
        return Ok(ctx.none());
    }
    let Deconv { pool_spec, kernel_format, adjustments, group } = ctx.op::<Deconv>().clone();
    let format = &pool_spec.data_format;
    let input = ctx.operand_shape(0)?;
    let sizes: TVec<usize> = format.shape(&input[..])?.hw_dims().into();
    let (kernel_shape, strides) = (pool_spec.kernel_shape.clone(), pool_spec.strides());
    let dilations = pool_spec.dilations();
    let padding = pool_spec.padding.compute_for_deconv(
        &sizes,
        &kernel_shape,
        &dilations,
        &strides,
        &adjustments,
    )?;
    let before = padding.iter().map(|axis| axis.pad_before).collect();
    let after = padding.iter().map(|axis| axis.pad_after).collect();
    let kernel = ctx.builder.constant_value(ctx.node.inputs[1])?;
    let kernel = kernel.cast_to::<f32>()?.into_owned();
    let kernel = swapped(&kernel, kernel_format, group)?;
    let spec = PoolSpec::new(
        *format,
        kernel_shape.clone(),
        PaddingSpec::Explicit(before, after),
        Some(dilations.as_ref().into()),
        Some(strides.as_ref().into()),
        pool_spec.output_channels,
        pool_spec.input_channels,
    );
    let kernel = ctx.builder.constant(kernel)?;
    let bias = ctx.builder.constant(Tensor::zero::<f32>(&[])?)?;
    let conv = Conv::new(spec, KernelFormat::OIHW, group, None);
    let mut gradient = ctx.wire(conv, &[ctx.gradient, kernel, bias])?;
    // An output padding as long as the stride adds positions that no input reaches.
    for (axis, &size) in sizes.iter().enumerate() {
        let axis = format.h_axis() + axis;
        let length = ctx.builder.graph.outlet_fact(gradient)?.shape[axis].to_usize()?;
        ensure!(length >= size, "a transposed convolution shorter than its input says");
        if length > size {
            gradient = ctx.wire(Slice::new(axis, 0, size), &[gradient])?;
        }
    }
    Ok(ctx.first(gradient))
}

/// The kernel with input and output channels swapped, as `[output, input of the group, spatial...]`.
fn swapped(kernel: &Tensor, format: KernelFormat, group: usize) -> TractResult<Tensor> {
    let spatial = format.spatial_shape(kernel.shape()).to_vec();
    // `[group, output, input, positions]`.
    let kernel = format.kernel_as_group_o_i_hw(kernel, group)?;
    let kernel = kernel.into_plain_array::<f32>()?.permuted_axes(vec![0, 2, 1, 3]);
    let kernel = kernel.as_standard_layout().into_owned();
    let mut shape = vec![group * kernel.shape()[1], kernel.shape()[2]];
    shape.extend(spatial);
    Ok(kernel.into_shape_with_order(shape)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::rules::check::{check, values};
    use tract_onnx::tract_core::ops::nn::DataFormat;

    #[test]
    fn strides_paddings_groups_and_ranks() {
        let explicit =
            |before: &[usize], after: &[usize]| PaddingSpec::Explicit(before.into(), after.into());
        for (kernel, padding, dilations, strides, adjustments, group, shape) in [
            (vec![3, 3], PaddingSpec::Valid, [1, 1], [1, 1], [0, 0], 1, [1, 4, 3, 4]),
            (vec![2, 2], PaddingSpec::Valid, [1, 1], [2, 2], [0, 0], 2, [1, 4, 3, 4]),
            (vec![4, 3], explicit(&[1, 1], &[1, 0]), [1, 1], [2, 2], [0, 1], 1, [1, 4, 3, 4]),
            (vec![3, 2], explicit(&[2, 0], &[0, 1]), [2, 1], [3, 1], [1, 0], 4, [2, 4, 3, 4]),
            (vec![3, 3], PaddingSpec::SameUpper, [1, 1], [2, 2], [0, 0], 2, [1, 4, 3, 4]),
            (vec![3, 3], PaddingSpec::SameLower, [1, 1], [2, 2], [0, 0], 1, [1, 4, 3, 4]),
            (vec![2, 2], PaddingSpec::Valid, [1, 1], [1, 1], [1, 2], 1, [1, 4, 3, 4]),
        ] {
            for rank in [1, 2] {
                let spec = PoolSpec::new(
                    DataFormat::NCHW,
                    kernel[..rank].into(),
                    match &padding {
                        PaddingSpec::Explicit(before, after) => {
                            explicit(&before[..rank], &after[..rank])
                        }
                        other => other.clone(),
                    },
                    Some(dilations[..rank].into()),
                    Some(strides[..rank].into()),
                    4,
                    4,
                );
                let adjustments = adjustments[..rank].into();
                let op = Deconv::new(spec, KernelFormat::OIHW, adjustments, group);
                let kernel: Vec<usize> = [&[4, 4 / group], &kernel[..rank]].concat();
                let operands = [values(&shape[..rank + 2], 1), values(&kernel, 3), values(&[4], 5)];
                check(&op, &operands, &[true, false, false]);
            }
        }
    }
}
