//! Axis operators (transpose, reshape, squeeze, broadcast): the gradient by the inverse operator.

use super::{Gradients, Rule, RuleContext};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::array::MultiBroadcastTo;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::identity::Identity;

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    if op.is::<AxisOp>() {
        Some(Rule(inverse))
    } else if op.is::<MultiBroadcastTo>() {
        Some(Rule(|ctx| {
            let shape = ctx.operand_shape(0)?;
            let sum = ctx.unbroadcast(ctx.gradient, &shape)?;
            Ok(ctx.first(sum))
        }))
    } else if op.is::<Identity>() {
        Some(Rule(|ctx| Ok(ctx.first(ctx.gradient))))
    } else {
        None
    }
}

fn inverse(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let inverse = ctx.op::<AxisOp>().recip();
    let gradient = ctx.wire(inverse, &[ctx.gradient])?;
    Ok(ctx.first(gradient))
}

#[cfg(test)]
mod tests {
    use crate::autodiff::rules::check::{check, values};
    use tract_onnx::prelude::*;
    use tract_onnx::tract_core::ops::array::MultiBroadcastTo;
    use tract_onnx::tract_core::ops::change_axes::AxisOp;

    #[test]
    fn axes_added_removed_moved_and_reshaped() {
        let dims = |shape: &[i64]| shape.iter().map(|&d| d.to_dim()).collect::<TVec<TDim>>();
        for op in [
            AxisOp::Add(1),
            AxisOp::Rm(1),
            AxisOp::Move(0, 2),
            AxisOp::Reshape(2, dims(&[6]), dims(&[2, 3])),
        ] {
            check(&op, &[values(&[2, 1, 6], 1)], &[true]);
        }
    }

    #[test]
    fn a_broadcast_is_summed_back() {
        let op = MultiBroadcastTo { shape: tvec!(2, 3, 4).into() };
        check(&op, &[values(&[2, 1, 4], 1)], &[true]);
        check(&op, &[values(&[4], 1)], &[true]);
    }
}
