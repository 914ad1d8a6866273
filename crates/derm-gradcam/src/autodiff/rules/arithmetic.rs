//! Binary arithmetic (add, sub, mul, div, min, max, pow), with broadcasting.

use super::{Gradients, Rule, RuleContext};
use derm_engine::graph_ops::{Relation, Where};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::binary::{BinMiniOp, TypedBinOp};
use tract_onnx::tract_core::ops::math::{self, Add, Div, Max, Min, Mul, Pow, Sub, SubF};

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    partial(op.downcast_ref::<TypedBinOp>()?.0.as_ref())?;
    Some(Rule(gradients))
}

fn gradients(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let partial = partial(ctx.op::<TypedBinOp>().0.as_ref()).expect("`rule` returned it");
    ctx.each(|ctx, index| {
        let gradient = partial(ctx, index)?;
        let shape = ctx.operand_shape(index)?;
        ctx.unbroadcast(gradient, &shape)
    })
}

/// The gradient with respect to an operand, of the output's shape.
type Partial = fn(&mut RuleContext, usize) -> TractResult<OutletId>;

/// Where two operands of a maximum or minimum are equal, neither gets the gradient, as in PyTorch's
/// `relu` at 0.
fn partial(op: &dyn BinMiniOp) -> Option<Partial> {
    Some(if op.is::<Add>() {
        |ctx, _| Ok(ctx.gradient)
    } else if op.is::<Sub>() {
        |ctx, index| signed(ctx, index == 0)
    } else if op.is::<SubF>() {
        |ctx, index| signed(ctx, index == 1)
    } else if op.is::<Mul>() {
        |ctx, index| {
            let other = ctx.operand(1 - index)?;
            ctx.wire(math::mul(), &[ctx.gradient, other])
        }
    } else if op.is::<Div>() {
        |ctx, index| {
            let below = ctx.operand(1)?;
            let share = ctx.wire(math::div(), &[ctx.gradient, below])?;
            if index == 0 {
                return Ok(share);
            }
            let output = ctx.output()?;
            let product = ctx.wire(math::mul(), &[share, output])?;
            ctx.wire(math::neg(), &[product])
        }
    } else if op.is::<Max>() {
        |ctx, index| {
            let (own, other) = (ctx.operand(index)?, ctx.operand(1 - index)?);
            ctx.wire(Where(Relation::Larger), &[ctx.gradient, own, other])
        }
    } else if op.is::<Min>() {
        |ctx, index| {
            let (own, other) = (below_max(ctx, index)?, ctx.operand(1 - index)?);
            ctx.wire(Where(Relation::Larger), &[ctx.gradient, other, own])
        }
    } else if op.is::<Pow>() {
        power
    } else {
        return None;
    })
}

/// Operand `index` of a minimum. For a clip, `min(max(x, a), b)` with scalars a < b, `x` compares to b
/// as `max(x, a)` does, and need not be recomputed.
fn below_max(ctx: &mut RuleContext, index: usize) -> TractResult<OutletId> {
    let number = |ctx: &RuleContext, outlet: OutletId| {
        let constant = ctx.builder.constant_value(outlet).ok()?;
        (constant.len() == 1).then(|| constant.cast_to_scalar::<f32>().ok()).flatten()
    };
    let own = ctx.node.inputs[index];
    let inner = ctx.builder.node(own);
    if inner.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<Max>())
        && let Some(above) = number(ctx, ctx.node.inputs[1 - index])
    {
        for slot in [0, 1] {
            let below = number(ctx, inner.inputs[slot]);
            let x = inner.inputs[1 - slot];
            if below.is_some_and(|below| below < above)
                && ctx.builder.shape(x)? == ctx.builder.shape(own)?
            {
                return ctx.builder.value(x);
            }
        }
    }
    ctx.operand(index)
}

fn signed(ctx: &mut RuleContext, positive: bool) -> TractResult<OutletId> {
    if positive { Ok(ctx.gradient) } else { ctx.wire(math::neg(), &[ctx.gradient]) }
}

/// d a^b: b a^(b - 1) da + a^b ln(a) db.
fn power(ctx: &mut RuleContext, index: usize) -> TractResult<OutletId> {
    let (a, b) = (ctx.operand(0)?, ctx.operand(1)?);
    let factor = if index == 0 {
        let rank = ctx.output_shape()?.len();
        let one = ctx.number(1.0, rank)?;
        let less = ctx.wire(math::sub(), &[b, one])?;
        let power = ctx.wire(math::pow(), &[a, less])?;
        ctx.wire(math::mul(), &[b, power])?
    } else {
        let (output, logarithm) = (ctx.output()?, ctx.wire(math::ln(), &[a])?);
        ctx.wire(math::mul(), &[output, logarithm])?
    };
    ctx.wire(math::mul(), &[ctx.gradient, factor])
}

#[cfg(test)]
mod tests {
    use crate::autodiff::rules::check::{check, values};
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
