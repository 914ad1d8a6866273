use super::Function;
use tract_onnx::prelude::tract_ndarray::Zip;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_core::ops::math::{
    Abs, Erf, Exp, Ln, Neg, PowConst, Recip, Rsqrt, Sqrt, Square, Tanh,
};
use tract_onnx::tract_core::ops::nn::{
    GeluApproximate, GeluExact, HardSwish, LeakyRelu, Sigmoid, Silu,
};

/// The gradient times the derivative of a function of one number: `(gradient, x)`, of one shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derivative(pub ElementWiseOp);

impl Derivative {
    /// None where the derivative is not known.
    pub fn of(function: &ElementWiseOp) -> Option<Derivative> {
        derivative(function.0.as_ref()).map(|_| Derivative(function.clone()))
    }
}

impl Op for Derivative {
    fn name(&self) -> StaticName {
        format!("{}Derivative", self.0.0.name()).into()
    }
    op_as_typed_op!();
}

impl TypedOp for Derivative {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[1].without_value()))
    }
    as_op!();
}

impl EvalOp for Derivative {
    op_out_of_plan!();
    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let derivative = derivative(self.0.0.as_ref()).context("`of` has seen one")?;
        let mut result = inputs[0].to_plain_array_view::<f32>()?.to_owned();
        Zip::from(&mut result)
            .and(inputs[1].to_plain_array_view::<f32>()?)
            .for_each(|gradient, &x| *gradient *= derivative(x));
        Ok(tvec!(result.into_tvalue()))
    }
}

/// dy/dx as a function of x.
type DerivativeAt = Box<dyn Fn(f32) -> f32>;

fn derivative(function: &dyn ElementWiseMiniOp) -> Option<DerivativeAt> {
    use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
    fn sigmoid(x: f32) -> f32 {
        1.0 / (1.0 + (-x).exp())
    }
    let plain: fn(f32) -> f32 = if function.is::<Sigmoid>() {
        |x| sigmoid(x) * (1.0 - sigmoid(x))
    } else if function.is::<Tanh>() {
        |x| 1.0 - x.tanh() * x.tanh()
    } else if function.is::<Silu>() {
        |x| sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)))
    } else if function.is::<HardSwish>() {
        |x| match x {
            x if x <= -3.0 => 0.0,
            x if x >= 3.0 => 1.0,
            x => x / 3.0 + 0.5,
        }
    } else if function.is::<GeluExact>() {
        |x| {
            let cumulative = 0.5 * (1.0 + libm::erff(x * FRAC_1_SQRT_2));
            let density = 0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * (-0.5 * x * x).exp();
            cumulative + x * density
        }
    } else if function.is::<Erf>() {
        |x| FRAC_2_SQRT_PI * (-x * x).exp()
    } else if function.is::<Exp>() {
        f32::exp
    } else if function.is::<Ln>() {
        |x| 1.0 / x
    } else if function.is::<Square>() {
        |x| 2.0 * x
    } else if function.is::<Sqrt>() {
        |x| 0.5 / x.sqrt()
    } else if function.is::<Rsqrt>() {
        |x| -0.5 / (x * x.sqrt())
    } else if function.is::<Recip>() {
        |x| -1.0 / (x * x)
    } else if function.is::<Neg>() {
        |_| -1.0
    } else if function.is::<Abs>() {
        |x| if x == 0.0 { 0.0 } else { x.signum() }
    } else if let Some(&Function(function)) = function.downcast_ref() {
        return Some(Box::new(move |x| function.derivative(x)));
    } else if let Some(&LeakyRelu { alpha }) = function.downcast_ref::<LeakyRelu>() {
        return Some(Box::new(move |x| if x > 0.0 { 1.0 } else { alpha }));
    } else if let Some(&PowConst { exponent }) = function.downcast_ref::<PowConst>() {
        return Some(Box::new(move |x| exponent * x.powf(exponent - 1.0)));
    } else if let Some(&GeluApproximate { fast_impl }) = function.downcast_ref::<GeluApproximate>()
    {
        let power = if fast_impl { 2 } else { 3 };
        return Some(Box::new(move |x| gelu_tanh_derivative(x, power)));
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
