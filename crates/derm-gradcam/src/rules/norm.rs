//! Root-mean-square normalisation along one axis, `y = x / sqrt(mean(x^2) + eps)`: with a
//! subtraction of the mean before it, this is layer normalisation.

use super::{Call, Gradients, Rule};
use ndarray::Axis;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::nn::RmsNorm;

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    op.downcast_ref::<RmsNorm>().map(|_| Rule(gradient))
}

/// With r = 1 / sqrt(mean(x^2) + eps): dx = r (g - y mean(g y)), along each lane.
fn gradient(call: &Call) -> TractResult<Gradients> {
    let norm = call.op::<RmsNorm>();
    let eps = norm.eps.cast_to_scalar::<f32>()?;
    let (operand, output) = (call.operand(0)?, call.output()?);
    let mut result = call.gradient.clone();
    let axis = Axis(norm.axis);
    for ((mut gradient, x), y) in
        result.lanes_mut(axis).into_iter().zip(operand.lanes(axis)).zip(output.lanes(axis))
    {
        let count = x.len() as f32;
        let inverse = (x.dot(&x) / count + eps).sqrt().recip();
        let projection = gradient.dot(&y) / count;
        gradient.zip_mut_with(&y, |gradient, y| *gradient = inverse * (*gradient - y * projection));
    }
    Ok(call.first(result))
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
