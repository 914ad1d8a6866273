//! Softmax and its logarithm.

use super::{Call, Gradients, Rule};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Softmax, SoftmaxKind};

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    let softmax = op.downcast_ref::<Softmax>()?;
    let rule = match softmax.kind {
        SoftmaxKind::Softmax => Rule(gradient),
        SoftmaxKind::LogSoftmax => Rule(log_gradient),
    };
    softmax.quant_output_dt.is_none().then_some(rule)
}

/// y (g - sum(g y)).
fn gradient(call: &mut Call) -> TractResult<Gradients> {
    let axes = call.op::<Softmax>().axes.clone();
    let output = call.output()?;
    let product = call.wire(math::mul(), &[call.gradient, output])?;
    let sum = call.sum(product, axes)?;
    let across = call.wire(math::sub(), &[call.gradient, sum])?;
    let gradient = call.wire(math::mul(), &[across, output])?;
    Ok(call.first(gradient))
}

/// g - e^y sum(g).
fn log_gradient(call: &mut Call) -> TractResult<Gradients> {
    let axes = call.op::<Softmax>().axes.clone();
    let output = call.output()?;
    let probabilities = call.wire(math::exp(), &[output])?;
    let sum = call.sum(call.gradient, axes)?;
    let along = call.wire(math::mul(), &[probabilities, sum])?;
    let gradient = call.wire(math::sub(), &[call.gradient, along])?;
    Ok(call.first(gradient))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::check::{check, values};

    #[test]
    fn over_one_axis_and_two() {
        for axes in [tvec!(2), tvec!(0), tvec!(1, 2)] {
            for kind in [SoftmaxKind::Softmax, SoftmaxKind::LogSoftmax] {
                let op = Softmax { axes: axes.clone(), quant_output_dt: None, kind };
                check(&op, &[values(&[2, 3, 4], 1)], &[true]);
            }
        }
    }
}
