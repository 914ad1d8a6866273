//! Softmax and log-softmax.

use super::{Gradients, Rule, RuleContext};
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
fn gradient(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let axes = ctx.op::<Softmax>().axes.clone();
    let output = ctx.output()?;
    let product = ctx.wire(math::mul(), &[ctx.gradient, output])?;
    let sum = ctx.sum(product, axes)?;
    let across = ctx.wire(math::sub(), &[ctx.gradient, sum])?;
    let gradient = ctx.wire(math::mul(), &[across, output])?;
    Ok(ctx.first(gradient))
}

/// g - e^y sum(g).
fn log_gradient(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let axes = ctx.op::<Softmax>().axes.clone();
    let output = ctx.output()?;
    let probabilities = ctx.wire(math::exp(), &[output])?;
    let sum = ctx.sum(ctx.gradient, axes)?;
    let along = ctx.wire(math::mul(), &[probabilities, sum])?;
    let gradient = ctx.wire(math::sub(), &[ctx.gradient, along])?;
    Ok(ctx.first(gradient))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::rules::check::{check, values};

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
