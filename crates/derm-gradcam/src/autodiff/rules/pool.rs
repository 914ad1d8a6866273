//! Max pooling and average pooling over any number of axes.

use super::{Gradients, Rule, RuleContext};
use derm_engine::graph_ops::{Pool, PoolInputGradient};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::cnn::{MaxPool, SumPool};

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    if op.is::<MaxPool>() { Some(Rule(max)) } else { op.is::<SumPool>().then_some(Rule(sum)) }
}

fn max(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let pool = Pool::Max(MaxPool { with_index_outputs: None, ..ctx.op::<MaxPool>().clone() });
    let op = PoolInputGradient { pool, input_shape: ctx.operand_shape(0)? };
    let input = ctx.operand(0)?;
    let gradient = ctx.wire(op, &[ctx.gradient, input])?;
    Ok(ctx.first(gradient))
}

fn sum(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let pool = Pool::Sum(ctx.op::<SumPool>().clone());
    let op = PoolInputGradient { pool, input_shape: ctx.operand_shape(0)? };
    let gradient = ctx.wire(op, &[ctx.gradient])?;
    Ok(ctx.first(gradient))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::autodiff::rules::check::{check, values};
    use tract_onnx::tract_core::ops::cnn::{PaddingSpec, PoolSpec};
    use tract_onnx::tract_core::ops::nn::DataFormat;

    /// Windows of several shapes over 2 channels of 5 x 6.
    pub(in crate::autodiff::rules) fn specs(outputs: usize) -> Vec<(PoolSpec, Vec<usize>)> {
        let padded = || PaddingSpec::Explicit(tvec!(1, 0), tvec!(1, 1));
        let geometries = [
            (tvec!(2, 2), PaddingSpec::Valid, tvec!(1, 1), tvec!(2, 2)),
            (tvec!(3, 3), padded(), tvec!(1, 1), tvec!(2, 1)),
            (tvec!(2, 3), PaddingSpec::SameUpper, tvec!(1, 1), tvec!(1, 2)),
            (tvec!(2, 2), PaddingSpec::Valid, tvec!(2, 1), tvec!(1, 1)),
        ];
        let mut specs = Vec::new();
        for (kernel, padding, dilations, strides) in geometries {
            for (format, shape) in [
                (DataFormat::NCHW, vec![1, 2, 5, 6]),
                (DataFormat::NHWC, vec![1, 5, 6, 2]),
                (DataFormat::CHW, vec![2, 5, 6]),
            ] {
                let spec = PoolSpec::new(
                    format,
                    kernel.clone(),
                    padding.clone(),
                    Some(dilations.clone()),
                    Some(strides.clone()),
                    2,
                    outputs,
                );
                specs.push((spec, shape));
            }
        }
        specs
    }

    #[test]
    fn windows_of_many_shapes() {
        for (pool_spec, shape) in specs(2) {
            let x = values(&shape, 1);
            let op = MaxPool { pool_spec: pool_spec.clone(), with_index_outputs: None };
            check(&op, std::slice::from_ref(&x), &[true]);
            for (normalize, count_include_pad) in [(true, true), (true, false), (false, false)] {
                let op = SumPool { pool_spec: pool_spec.clone(), count_include_pad, normalize };
                check(&op, std::slice::from_ref(&x), &[true]);
            }
        }
    }

    #[test]
    fn one_and_three_spatial_axes() {
        for rank in [1, 3] {
            let pool_spec = PoolSpec::new(
                DataFormat::NCHW,
                [3, 2, 2][..rank].into(),
                PaddingSpec::Explicit([1, 0, 1][..rank].into(), [1, 1, 0][..rank].into()),
                None,
                Some([2, 1, 1][..rank].into()),
                2,
                2,
            );
            let x = values(&[&[1, 2], &[4, 4, 3][..rank]].concat(), 1);
            let op = MaxPool { pool_spec: pool_spec.clone(), with_index_outputs: None };
            check(&op, std::slice::from_ref(&x), &[true]);
            let op = MaxPool { with_index_outputs: Some(DatumType::I64), ..op };
            check(&op, std::slice::from_ref(&x), &[true]);
            for count_include_pad in [true, false] {
                let pool_spec = pool_spec.clone();
                let op = SumPool { pool_spec, count_include_pad, normalize: true };
                check(&op, std::slice::from_ref(&x), &[true]);
            }
        }
    }
}
