//! Root-mean-square normalisation along one axis, `y = x / sqrt(mean(x^2) + eps)`: with a
//! subtraction of the mean before it, this is layer normalisation.

use super::{Call, Gradients, Rule};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, RmsNorm};

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    op.downcast_ref::<RmsNorm>().map(|_| Rule(gradient))
}

/// With r = 1 / sqrt(mean(x^2) + eps) and y = r x: dx = r (g - y mean(g y)), along each lane.
fn gradient(call: &mut Call) -> TractResult<Gradients> {
    let norm = call.op::<RmsNorm>();
    let (axis, eps) = (norm.axis, norm.eps.cast_to_scalar::<f32>()?);
    let shape = call.operand_shape(0)?;
    let x = call.operand(0)?;
    let squares = call.wire(Reduce { axes: tvec!(axis), reducer: Reducer::MeanOfSquares }, &[x])?;
    let eps = call.number(eps, shape.len())?;
    let squares = call.wire(math::add(), &[squares, eps])?;
    let inverse = call.wire(math::rsqrt(), &[squares])?;
    let output = call.wire(math::mul(), &[x, inverse])?;
    let product = call.wire(math::mul(), &[call.gradient, output])?;
    let sum = call.sum(product, tvec!(axis))?;
    let share = call.number(1.0 / shape[axis] as f32, shape.len())?;
    let mean = call.wire(math::mul(), &[sum, share])?;
    let along = call.wire(math::mul(), &[output, mean])?;
    let across = call.wire(math::sub(), &[call.gradient, along])?;
    let gradient = call.wire(math::mul(), &[across, inverse])?;
    Ok(call.first(gradient))
}

#[cfg(test)]
mod tests {
    use crate::rules::check::{check, values};
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
