//! Reductions over axes; the reduced axes stay, with length one.

use super::{Call, Gradients, Rule};
use ndarray::{ArrayD, Zip};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    let reduce = op.downcast_ref::<Reduce>()?;
    let known = matches!(
        reduce.reducer,
        Reducer::Sum | Reducer::MeanOfSquares | Reducer::Max | Reducer::Min
    );
    known.then_some(Rule(gradient))
}

fn gradient(call: &Call) -> TractResult<Gradients> {
    let reduce = call.op::<Reduce>();
    let operand = call.operand(0)?;
    let count: usize = reduce.axes.iter().map(|&axis| operand.shape()[axis]).product();
    let share = |x: f32, y: f32| match reduce.reducer {
        Reducer::MeanOfSquares => 2.0 * x / count as f32,
        Reducer::Max | Reducer::Min => f32::from(x == y),
        _ => 1.0,
    };
    let mut result = ArrayD::zeros(operand.shape());
    Zip::from(&mut result)
        .and(&operand)
        .and_broadcast(call.output()?)
        .and_broadcast(&call.gradient)
        .for_each(|result, &x, &y, &gradient| *result = gradient * share(x, y));
    Ok(call.first(result))
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
