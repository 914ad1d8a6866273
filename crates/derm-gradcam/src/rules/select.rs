//! One of two values, by a condition: the gradient goes to the one that was taken. PReLU, ELU, SELU
//! and the like are made of it.

use super::{Call, Gradients, Rule};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::logic::Iff;

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    op.is::<Iff>().then_some(Rule(gradients))
}

fn gradients(call: &mut Call) -> TractResult<Gradients> {
    let condition = call.operand(0)?;
    let rank = call.output_shape()?.len();
    call.each(|call, place| {
        let zero = call.number(0.0, rank)?;
        let values = if place == 1 { [call.gradient, zero] } else { [zero, call.gradient] };
        let taken = call.wire(Iff, &[condition, values[0], values[1]])?;
        let shape = call.operand_shape(place)?;
        call.unbroadcast(taken, &shape)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::check::{check_tensors, values};

    #[test]
    fn the_value_that_was_taken_gets_the_gradient() {
        let condition = Tensor::from(values(&[2, 3], 7).mapv(|value| value > 0.0));
        let operands = [condition, values(&[2, 3], 1).into(), values(&[1, 3], 2).into()];
        check_tensors(&Iff, &operands, &[false, true, true]);
    }
}
