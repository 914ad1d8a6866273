//! Functions of two numbers, with broadcasting.

use super::{Call, Gradients, Rule, unbroadcast};
use ndarray::{ArrayD, Zip};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::binary::{BinMiniOp, TypedBinOp};
use tract_onnx::tract_core::ops::math::{Add, Div, Max, Min, Mul, Pow, Sub, SubF};

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    partials(op.downcast_ref::<TypedBinOp>()?.0.as_ref())?;
    Some(Rule(gradient))
}

fn gradient(call: &Call) -> TractResult<Gradients> {
    let partials = partials(call.op::<TypedBinOp>().0.as_ref()).expect("`rule` has seen them");
    let (a, b) = (call.operand(0)?, call.operand(1)?);
    call.each(|place| {
        let mut result: ArrayD<f32> = call.gradient.clone();
        Zip::from(&mut result)
            .and_broadcast(&a)
            .and_broadcast(&b)
            .for_each(|gradient, &a, &b| *gradient *= partials[place](a, b));
        Ok(unbroadcast(result, call.operands[place].shape()))
    })
}

/// A function of the two operands.
type Partial = fn(f32, f32) -> f32;

/// The derivatives with respect to the first and the second operand. Where two operands of a
/// maximum or minimum are equal, neither gets the gradient, as in PyTorch's `relu` at 0.
fn partials(op: &dyn BinMiniOp) -> Option<[Partial; 2]> {
    Some(if op.is::<Add>() {
        [|_, _| 1.0, |_, _| 1.0]
    } else if op.is::<Sub>() {
        [|_, _| 1.0, |_, _| -1.0]
    } else if op.is::<SubF>() {
        [|_, _| -1.0, |_, _| 1.0]
    } else if op.is::<Mul>() {
        [|_, b| b, |a, _| a]
    } else if op.is::<Div>() {
        [|_, b| 1.0 / b, |a, b| -a / (b * b)]
    } else if op.is::<Max>() {
        [|a, b| f32::from(a > b), |a, b| f32::from(b > a)]
    } else if op.is::<Min>() {
        [|a, b| f32::from(a < b), |a, b| f32::from(b < a)]
    } else if op.is::<Pow>() {
        [|a, b| b * a.powf(b - 1.0), |a, b| a.powf(b) * a.ln()]
    } else {
        return None;
    })
}

#[cfg(test)]
mod tests {
    use crate::rules::check::{check, values};
    use tract_onnx::tract_core::ops::math;

    #[test]
    fn both_operands_broadcast_either_way() {
        for (a, b) in [([2, 3, 4], [2, 3, 4]), ([2, 3, 4], [1, 3, 1]), ([1, 1, 4], [2, 3, 1])] {
            let (a, b) = (values(&a, 1), values(&b, 5).mapv(|v| v + 0.03));
            for op in
                [math::add(), math::sub(), math::subf(), math::mul(), math::max(), math::min()]
            {
                check(&op, &[a.clone(), b.clone()], &[true, true]);
            }
            let positive = |v: f32| v.abs() + 0.5;
            let (a, b) = (a.mapv(positive), b.mapv(positive));
            for op in [math::div(), math::pow()] {
                check(&op, &[a.clone(), b.clone()], &[true, true]);
            }
        }
    }
}
