//! Unary functions: the gradient is multiplied elementwise by the derivative. A cast passes it.

use super::{Gradients, Rule, RuleContext};
use derm_engine::graph_ops::Derivative;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    if op.is::<Cast>() {
        return Some(Rule(|ctx| Ok(ctx.first(ctx.gradient))));
    }
    Derivative::of(op.downcast_ref::<ElementWiseOp>()?).map(|_| Rule(gradient))
}

fn gradient(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let derivative = Derivative::of(ctx.op()).expect("`rule` checked it");
    let x = ctx.operand(0)?;
    let gradient = ctx.wire(derivative, &[ctx.gradient, x])?;
    Ok(ctx.first(gradient))
}

#[cfg(test)]
mod tests {
    use crate::autodiff::rules::check::{check, values};
    use tract_onnx::tract_core::ops::{math, nn};

    #[test]
    fn functions_of_any_argument() {
        let x = values(&[2, 3, 4], 1);
        for op in [
            nn::sigmoid(),
            nn::silu::silu(),
            nn::hard_swish(),
            nn::gelu_exact::gelu_exact(),
            nn::gelu_approximate::gelu_approximate(false),
            nn::gelu_approximate::gelu_approximate(true),
            nn::leaky_relu(0.1),
            math::tanh(),
            math::erf(),
            math::exp(),
            math::square(),
            math::neg(),
            math::abs(),
        ] {
            check(&op, std::slice::from_ref(&x), &[true]);
        }
    }

    #[test]
    fn functions_of_positive_arguments() {
        let x = values(&[3, 5], 2).mapv(|v| v.abs() + 0.5);
        for op in [math::ln(), math::sqrt(), math::rsqrt(), math::recip(), math::pow_const(1.7)] {
            check(&op, std::slice::from_ref(&x), &[true]);
        }
    }

    #[test]
    fn hard_swish_is_flat_below_and_straight_above() {
        let x = values(&[40], 3).mapv(|v| v * 4.0 + 0.02);
        check(&nn::hard_swish(), &[x], &[true]);
    }
}
