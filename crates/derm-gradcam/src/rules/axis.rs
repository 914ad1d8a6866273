//! Operators that rename or move axes: the gradient goes back the same way.

use super::{Call, Gradients, Rule};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::array::MultiBroadcastTo;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::identity::Identity;

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    if op.is::<AxisOp>() {
        Some(Rule(back))
    } else if op.is::<MultiBroadcastTo>() {
        Some(Rule(|call| {
            let shape = call.operand_shape(0)?;
            let sum = call.unbroadcast(call.gradient, &shape)?;
            Ok(call.first(sum))
        }))
    } else if op.is::<Identity>() {
        Some(Rule(|call| Ok(call.first(call.gradient))))
    } else {
        None
    }
}

fn back(call: &mut Call) -> TractResult<Gradients> {
    let back = call.op::<AxisOp>().recip();
    let gradient = call.wire(back, &[call.gradient])?;
    Ok(call.first(gradient))
}

#[cfg(test)]
mod tests {
    use crate::rules::check::{check, values};
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
