//! Functions of one number: the gradient is multiplied by the derivative at each place.

use super::{Call, Gradients, Rule};
use ndarray::{ArrayD, Zip};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_core::ops::math::{
    Abs, Erf, Exp, Ln, Neg, PowConst, Recip, Rsqrt, Sqrt, Square, Tanh,
};
use tract_onnx::tract_core::ops::nn::{
    GeluApproximate, GeluExact, HardSwish, LeakyRelu, Sigmoid, Silu,
};

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    if op.downcast_ref::<Cast>().is_some_and(|cast| cast.to == DatumType::F32) {
        return Some(Rule(|call| Ok(call.first(call.gradient.clone()))));
    }
    let function = op.downcast_ref::<ElementWiseOp>()?;
    let known = derivative(function.0.as_ref()).is_some();
    known.then_some(Rule(gradient))
}

fn gradient(call: &Call) -> TractResult<Gradients> {
    let function = &call.op::<ElementWiseOp>().0;
    let derivative = derivative(function.as_ref()).expect("`rule` has seen one");
    let mut result: ArrayD<f32> = call.gradient.clone();
    Zip::from(&mut result)
        .and(call.operand(0)?)
        .and(call.output()?)
        .for_each(|gradient, &x, &y| *gradient *= derivative(x, y));
    Ok(call.first(result))
}

/// dy/dx as a function of x and y.
type Derivative = Box<dyn Fn(f32, f32) -> f32>;

fn derivative(function: &dyn ElementWiseMiniOp) -> Option<Derivative> {
    use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
    let plain: fn(f32, f32) -> f32 = if function.is::<Sigmoid>() {
        |_, y| y * (1.0 - y)
    } else if function.is::<Tanh>() {
        |_, y| 1.0 - y * y
    } else if function.is::<Silu>() {
        |x, y| {
            let sigmoid = 1.0 / (1.0 + (-x).exp());
            sigmoid + y * (1.0 - sigmoid)
        }
    } else if function.is::<HardSwish>() {
        |x, _| match x {
            x if x <= -3.0 => 0.0,
            x if x >= 3.0 => 1.0,
            x => x / 3.0 + 0.5,
        }
    } else if function.is::<GeluExact>() {
        |x, _| {
            let cumulative = 0.5 * (1.0 + libm::erff(x * FRAC_1_SQRT_2));
            let density = 0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * (-0.5 * x * x).exp();
            cumulative + x * density
        }
    } else if function.is::<Erf>() {
        |x, _| FRAC_2_SQRT_PI * (-x * x).exp()
    } else if function.is::<Exp>() {
        |_, y| y
    } else if function.is::<Ln>() {
        |x, _| 1.0 / x
    } else if function.is::<Square>() {
        |x, _| 2.0 * x
    } else if function.is::<Sqrt>() {
        |_, y| 0.5 / y
    } else if function.is::<Rsqrt>() {
        |x, y| -0.5 * y / x
    } else if function.is::<Recip>() {
        |_, y| -y * y
    } else if function.is::<Neg>() {
        |_, _| -1.0
    } else if function.is::<Abs>() {
        |x, _| if x == 0.0 { 0.0 } else { x.signum() }
    } else if let Some(&LeakyRelu { alpha }) = function.downcast_ref::<LeakyRelu>() {
        return Some(Box::new(move |x, _| if x > 0.0 { 1.0 } else { alpha }));
    } else if let Some(&PowConst { exponent }) = function.downcast_ref::<PowConst>() {
        return Some(Box::new(move |x, _| exponent * x.powf(exponent - 1.0)));
    } else if let Some(&GeluApproximate { fast_impl }) = function.downcast_ref::<GeluApproximate>()
    {
        let power = if fast_impl { 2 } else { 3 };
        return Some(Box::new(move |x, _| gelu_tanh_derivative(x, power)));
    } else {
        return None;
    };
    Some(Box::new(plain))
}

/// Of `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^power)))`, tract's form of the approximation.
fn gelu_tanh_derivative(x: f32, power: i32) -> f32 {
    let scale = (2.0 / std::f32::consts::PI).sqrt();
    let tanh = (scale * (x + 0.044_715 * x.powi(power))).tanh();
    let inner = scale * (1.0 + 0.044_715 * power as f32 * x.powi(power - 1));
    0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * inner
}

#[cfg(test)]
mod tests {
    use crate::rules::check::{check, values};
    use tract_onnx::tract_core::ops::{math, nn};

    #[test]
    fn functions_of_any_number() {
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
    fn functions_of_positive_numbers() {
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
