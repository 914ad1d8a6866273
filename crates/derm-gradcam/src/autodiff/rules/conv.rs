//! Convolution over any number of axes, with groups, strides, dilations and padding, in any data
//! layout: the gradient with respect to the input.

use super::{Gradients, Rule, RuleContext};
use derm_engine::graph_ops::ConvInputGradient;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::cnn::Conv;

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    let conv = op.downcast_ref::<Conv>()?;
    conv.q_params.is_none().then_some(Rule(gradient))
}

fn gradient(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let (conv, input_shape) = (ctx.op::<Conv>().clone(), ctx.operand_shape(0)?);
    let kernel = ctx.operand(1)?;
    let op = ConvInputGradient { conv, input_shape };
    let gradient = ctx.wire(op, &[ctx.gradient, kernel])?;
    Ok(ctx.first(gradient))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::rules::check::{check, values};
    use crate::autodiff::rules::pool::tests::specs;
    use tract_onnx::tract_core::ops::cnn::{KernelFormat, PaddingSpec, PoolSpec};
    use tract_onnx::tract_core::ops::nn::DataFormat;

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

    #[test]
    fn one_and_three_spatial_axes() {
        for rank in [1, 3] {
            for (format, group) in
                [(DataFormat::NCHW, 1), (DataFormat::NCHW, 2), (DataFormat::NHWC, 1)]
            {
                let spec = PoolSpec::new(
                    format,
                    [3, 2, 2][..rank].into(),
                    PaddingSpec::Explicit([1, 0, 1][..rank].into(), [1, 1, 0][..rank].into()),
                    Some([1, 2, 1][..rank].into()),
                    Some([2, 1, 1][..rank].into()),
                    2,
                    4,
                );
                let spatial = &[4, 4, 3][..rank];
                let shape = match format {
                    DataFormat::NHWC => [&[2], spatial, &[2]].concat(),
                    _ => [&[2, 2], spatial].concat(),
                };
                let kernel = [&[4, 2 / group], &[3, 2, 2][..rank]].concat();
                let op = Conv::new(spec, KernelFormat::OIHW, group, None);
                let operands = [values(&shape, 1), values(&kernel, 3), values(&[4], 5)];
                check(&op, &operands, &[true, false, false]);
            }
        }
    }
}
