//! RMS normalisation along one axis, `y = x / sqrt(mean(x^2) + eps)`. Layer normalisation is a
//! subtraction of the mean before it.

use super::{Gradients, Rule, RuleContext};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, RmsNorm};

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    op.downcast_ref::<RmsNorm>().map(|_| Rule(gradient))
}

/// With r = 1 / sqrt(mean(x^2) + eps) and y = r x: dx = r (g - y mean(g y)), along each lane.
fn gradient(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let norm = ctx.op::<RmsNorm>();
    let (axis, eps) = (norm.axis, norm.eps.cast_to_scalar::<f32>()?);
    let shape = ctx.operand_shape(0)?;
    let x = ctx.operand(0)?;
    let squares = ctx.wire(Reduce { axes: tvec!(axis), reducer: Reducer::MeanOfSquares }, &[x])?;
    let eps = ctx.number(eps, shape.len())?;
    let squares = ctx.wire(math::add(), &[squares, eps])?;
    let inverse = ctx.wire(math::rsqrt(), &[squares])?;
    let output = ctx.wire(math::mul(), &[x, inverse])?;
    let product = ctx.wire(math::mul(), &[ctx.gradient, output])?;
    let sum = ctx.sum(product, tvec!(axis))?;
    let share = ctx.number(1.0 / shape[axis] as f32, shape.len())?;
    let mean = ctx.wire(math::mul(), &[sum, share])?;
    let along = ctx.wire(math::mul(), &[output, mean])?;
    let across = ctx.wire(math::sub(), &[ctx.gradient, along])?;
    let gradient = ctx.wire(math::mul(), &[across, inverse])?;
    Ok(ctx.first(gradient))
}

#[cfg(test)]
mod tests {
    use crate::autodiff::rules::check::{check, values};
    use tract_onnx::prelude::*;
    use tract_onnx::tract_core::ops::nn::RmsNorm;

    #[test]
    fn along_each_axis() {
        for axis in 0..3 {
            let op = RmsNorm { axis, eps: tensor0(1e-3f32).into_arc_tensor() };
            check(&op, &[values(&[2, 3, 4], 1)], &[true]);
        }
    }
}
