//! Reductions (sum, mean of squares, max, min) over axes, which stay with length 1.

use super::{Gradients, Rule, RuleContext};
use derm_engine::graph_ops::{Relation, Where};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    let reduce = op.downcast_ref::<Reduce>()?;
    let known = matches!(
        reduce.reducer,
        Reducer::Sum | Reducer::MeanOfSquares | Reducer::Max | Reducer::Min
    );
    known.then_some(Rule(gradient))
}

fn gradient(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let Reduce { axes, reducer } = ctx.op::<Reduce>().clone();
    let shape = ctx.operand_shape(0)?;
    let gradient = match reducer {
        Reducer::MeanOfSquares => {
            let count: usize = axes.iter().map(|&axis| shape[axis]).product();
            let share = ctx.number(2.0 / count as f32, shape.len())?;
            let share = ctx.wire(math::mul(), &[ctx.gradient, share])?;
            let x = ctx.operand(0)?;
            ctx.wire(math::mul(), &[x, share])?
        }
        Reducer::Max | Reducer::Min => {
            let (x, output) = (ctx.operand(0)?, ctx.output()?);
            ctx.wire(Where(Relation::Equal), &[ctx.gradient, x, output])?
        }
        _ => ctx.gradient,
    };
    let gradient = ctx.broadcast(gradient, &shape)?;
    Ok(ctx.first(gradient))
}

#[cfg(test)]
mod tests {
    use crate::autodiff::rules::check::{check, values};
    use tract_onnx::prelude::tvec;
    use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};

    #[test]
    fn over_one_axis_and_two() {
        for axes in [tvec!(1), tvec!(0, 2)] {
            for reducer in [Reducer::Sum, Reducer::MeanOfSquares, Reducer::Max, Reducer::Min] {
                let op = Reduce { axes: axes.clone(), reducer };
                check(&op, &[values(&[2, 3, 4], 1)], &[true]);
            }
        }
    }
}
