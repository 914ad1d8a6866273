//! Functions of two numbers, with broadcasting.

use super::{Call, Gradients, Rule};
use derm_engine::ops::{Relation, Where};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::binary::{BinMiniOp, TypedBinOp};
use tract_onnx::tract_core::ops::math::{self, Add, Div, Max, Min, Mul, Pow, Sub, SubF};

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    partial(op.downcast_ref::<TypedBinOp>()?.0.as_ref())?;
    Some(Rule(gradients))
}

fn gradients(call: &mut Call) -> TractResult<Gradients> {
    let partial = partial(call.op::<TypedBinOp>().0.as_ref()).expect("`rule` has seen it");
    call.each(|call, place| {
        let gradient = partial(call, place)?;
        let shape = call.operand_shape(place)?;
        call.unbroadcast(gradient, &shape)
    })
}

/// The gradient with respect to an operand, of the output's shape.
type Partial = fn(&mut Call, usize) -> TractResult<OutletId>;

/// Where two operands of a maximum or minimum are equal, neither gets the gradient, as in PyTorch's
/// `relu` at 0.
fn partial(op: &dyn BinMiniOp) -> Option<Partial> {
    Some(if op.is::<Add>() {
        |call, _| Ok(call.gradient)
    } else if op.is::<Sub>() {
        |call, place| signed(call, place == 0)
    } else if op.is::<SubF>() {
        |call, place| signed(call, place == 1)
    } else if op.is::<Mul>() {
        |call, place| {
            let other = call.operand(1 - place)?;
            call.wire(math::mul(), &[call.gradient, other])
        }
    } else if op.is::<Div>() {
        |call, place| {
            let below = call.operand(1)?;
            let share = call.wire(math::div(), &[call.gradient, below])?;
            if place == 0 {
                return Ok(share);
            }
            let output = call.output()?;
            let product = call.wire(math::mul(), &[share, output])?;
            call.wire(math::neg(), &[product])
        }
    } else if op.is::<Max>() {
        |call, place| {
            let (own, other) = (call.operand(place)?, call.operand(1 - place)?);
            call.wire(Where(Relation::Larger), &[call.gradient, own, other])
        }
    } else if op.is::<Min>() {
        |call, place| {
            let (own, other) = (below_maximum(call, place)?, call.operand(1 - place)?);
            call.wire(Where(Relation::Larger), &[call.gradient, other, own])
        }
    } else if op.is::<Pow>() {
        power
    } else {
        return None;
    })
}

/// Operand `place` of a minimum; of `min(max(x, a), b)` with numbers a < b, as clips are written,
/// x does as well and need not be computed again.
fn below_maximum(call: &mut Call, place: usize) -> TractResult<OutletId> {
    let number = |call: &Call, outlet: OutletId| {
        let constant = call.tape.constant_value(outlet).ok()?;
        (constant.len() == 1).then(|| constant.cast_to_scalar::<f32>().ok()).flatten()
    };
    let own = call.node.inputs[place];
    let inner = call.tape.node(own);
    if inner.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<Max>())
        && let Some(above) = number(call, call.node.inputs[1 - place])
    {
        for slot in [0, 1] {
            let below = number(call, inner.inputs[slot]);
            let x = inner.inputs[1 - slot];
            if below.is_some_and(|below| below < above)
                && call.tape.shape(x)? == call.tape.shape(own)?
            {
                return call.tape.value(x);
            }
        }
    }
    call.operand(place)
}

fn signed(call: &mut Call, positive: bool) -> TractResult<OutletId> {
    if positive { Ok(call.gradient) } else { call.wire(math::neg(), &[call.gradient]) }
}

/// d a^b: b a^(b - 1) da + a^b ln(a) db.
fn power(call: &mut Call, place: usize) -> TractResult<OutletId> {
    let (a, b) = (call.operand(0)?, call.operand(1)?);
    let factor = if place == 0 {
        let rank = call.output_shape()?.len();
        let one = call.number(1.0, rank)?;
        let less = call.wire(math::sub(), &[b, one])?;
        let power = call.wire(math::pow(), &[a, less])?;
        call.wire(math::mul(), &[b, power])?
    } else {
        let (output, logarithm) = (call.output()?, call.wire(math::ln(), &[a])?);
        call.wire(math::mul(), &[output, logarithm])?
    };
    call.wire(math::mul(), &[call.gradient, factor])
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

    #[test]
    fn a_clamp_passes_what_is_inside() {
        let x = values(&[3, 5], 1);
        for bound in [-0.4f32, 0.0, 0.7] {
            let bound = ndarray::ArrayD::from_elem(vec![1, 1], bound);
            for op in [math::max(), math::min()] {
                check(&op, &[x.clone(), bound.clone()], &[true, false]);
                check(&op, &[bound.clone(), x.clone()], &[false, true]);
            }
        }
    }
}
