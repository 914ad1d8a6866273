//! Reductions over axes; the reduced axes stay, with length one.

use super::{Call, Gradients, Rule};
use derm_engine::ops::{Relation, Where};
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

fn gradient(call: &mut Call) -> TractResult<Gradients> {
    let Reduce { axes, reducer } = call.op::<Reduce>().clone();
    let shape = call.operand_shape(0)?;
    let gradient = match reducer {
        Reducer::MeanOfSquares => {
            let count: usize = axes.iter().map(|&axis| shape[axis]).product();
            let share = call.number(2.0 / count as f32, shape.len())?;
            let share = call.wire(math::mul(), &[call.gradient, share])?;
            let x = call.operand(0)?;
            call.wire(math::mul(), &[x, share])?
        }
        Reducer::Max | Reducer::Min => {
            let (x, output) = (call.operand(0)?, call.output()?);
            call.wire(Where(Relation::Equal), &[call.gradient, x, output])?
        }
        _ => call.gradient,
    };
    let gradient = call.broadcast(gradient, &shape)?;
    Ok(call.first(gradient))
}

#[cfg(test)]
mod tests {
    use crate::rules::check::{check, values};
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
