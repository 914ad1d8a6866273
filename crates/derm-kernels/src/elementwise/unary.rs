//! Elementwise functions of one value: activations and the arithmetic that graphs are made of.
//!
//! To add a function, add an entry to the table below; everything else follows from it.

use super::table::{each_vector, unary_table};
use crate::rows::Rows;
use crate::simd::dispatch::dispatch;
use crate::simd::isa::Isa;
use crate::simd::math::{erf, exp, sigmoid, tanh, unit};
use crate::simd::vector::Simd;
use std::f32::consts::FRAC_1_SQRT_2;

/// Floating-point operations of [`exp`].
const EXP: usize = 21;
/// Floating-point operations of [`erf`].
const ERF: usize = EXP + 17;
/// Floating-point operations of [`sigmoid`].
const SIGMOID: usize = EXP + 3;
/// 1 / sqrt(2 pi), the standard normal density at 0.
const NORMAL_PEAK: f32 = 0.398_942_3;

unary_table! { |S, x, g|
    /// Clamped to `low..=high`: ReLU is `Clamp(0, infinity)`, ReLU6 `Clamp(0, 6)`. NaN stays NaN, as in
    /// every function here.
    Clamp(low, high) = "clamp", flops 2, {
        value: S::min(S::splat(high), S::max(S::splat(low), x)),
        derivative: between::<S>(x, low, high, g),
    }
    /// 1 / (1 + e^-x).
    Sigmoid = "sigmoid", flops SIGMOID, {
        value: sigmoid::<S>(x),
        derivative: {
            let s = sigmoid::<S>(x);
            S::mul(g, S::mul(s, S::sub(S::splat(1.0), s)))
        },
    }
    /// x sigmoid(x), Swish with alpha = 1.
    Silu = "SiLU", flops SIGMOID + 1, {
        value: S::mul(x, sigmoid::<S>(x)),
        // s (1 + x (1 - s))
        derivative: {
            let (s, one) = (sigmoid::<S>(x), S::splat(1.0));
            S::mul(g, S::mul(s, S::fma(x, S::sub(one, s), one)))
        },
    }
    /// `Swish(alpha)`: x sigmoid(alpha x) (Ramachandran and others 2017, arXiv:1710.05941).
    Swish(alpha) = "Swish", flops SIGMOID + 2, {
        value: S::mul(x, sigmoid::<S>(S::mul(x, S::splat(alpha)))),
        // s (1 + alpha x (1 - s))
        derivative: {
            let (scaled, one) = (S::mul(x, S::splat(alpha)), S::splat(1.0));
            let s = sigmoid::<S>(scaled);
            S::mul(g, S::mul(s, S::fma(scaled, S::sub(one, s), one)))
        },
    }
    /// `HardSigmoid(alpha, beta)`: max(0, min(1, alpha x + beta)).
    HardSigmoid(alpha, beta) = "hard sigmoid", flops 4, {
        value: unit::<S>(S::fma(x, S::splat(alpha), S::splat(beta))),
        derivative: {
            let slope = S::splat(alpha);
            between::<S>(S::fma(x, slope, S::splat(beta)), 0.0, 1.0, S::mul(g, slope))
        },
    }
    /// x max(0, min(1, x / 6 + 1/2)).
    HardSwish = "hard swish", flops 5, {
        value: S::mul(x, unit::<S>(S::fma(x, S::splat(1.0 / 6.0), S::splat(0.5)))),
        derivative: {
            let slope = S::fma(x, S::splat(1.0 / 3.0), S::splat(0.5));
            let inner = between::<S>(x, -3.0, 3.0, S::mul(g, slope));
            // 1 from 3 on, 3 included.
            S::add(inner, S::sub(g, S::where_larger(S::splat(3.0), x, g)))
        },
    }
    /// Hyperbolic tangent.
    Tanh = "tanh", flops SIGMOID + 3, {
        value: tanh::<S>(x),
        derivative: {
            let t = tanh::<S>(x);
            S::mul(g, S::sub(S::splat(1.0), S::mul(t, t)))
        },
    }
    /// Exact GELU, x / 2 (1 + erf(x / sqrt 2)). Of +infinity, NaN with AVX-512.
    Gelu = "GELU", flops ERF + 4, {
        value: {
            let erf = erf::<S>(S::mul(x, S::splat(FRAC_1_SQRT_2)));
            S::mul(S::mul(x, S::splat(0.5)), S::add(erf, S::splat(1.0)))
        },
        derivative: {
            let half = S::splat(0.5);
            let cumulative = S::fma(erf::<S>(S::mul(x, S::splat(FRAC_1_SQRT_2))), half, half);
            let square = S::mul(S::mul(x, x), S::splat(-0.5));
            let density = S::mul(S::splat(NORMAL_PEAK), exp::<S>(square));
            S::mul(g, S::fma(x, density, cumulative))
        },
    }
    /// `LeakyRelu(slope)`: x for x > 0, else slope x.
    LeakyRelu(slope) = "leaky ReLU", flops 4, {
        value: {
            let zero = S::splat(0.0);
            S::fma(S::min(zero, x), S::splat(slope), S::max(zero, x))
        },
        derivative: {
            let positive = S::where_larger(x, S::splat(0.0), g);
            S::fma(S::splat(slope), S::sub(g, positive), positive)
        },
    }
    /// `Celu(alpha)`: max(0, x) + min(0, alpha (e^(x / alpha) - 1)), alpha not 0 (Barron 2017,
    /// arXiv:1704.07483).
    Celu(alpha) = "CELU", flops EXP + 6, {
        value: {
            let zero = S::splat(0.0);
            let power = exp::<S>(S::mul(S::min(zero, x), S::splat(1.0 / alpha)));
            S::fma(S::sub(power, S::splat(1.0)), S::splat(alpha), S::max(zero, x))
        },
        // 1 for x > 0, else e^(x / alpha): at most 1 either way.
        derivative: S::mul(g, exp::<S>(S::mul(S::min(S::splat(0.0), x), S::splat(1.0 / alpha)))),
    }
    /// `Linear(scale, offset)`: scale x + offset.
    Linear(scale, offset) = "linear", flops 2, {
        value: S::fma(x, S::splat(scale), S::splat(offset)),
        derivative: S::mul(g, S::splat(scale)),
    }
    /// x^2.
    Square = "square", flops 1, {
        value: S::mul(x, x),
        derivative: S::mul(g, S::add(x, x)),
    }
    /// Square root.
    Sqrt = "square root", flops 1, {
        value: S::sqrt(x),
        derivative: S::div(S::mul(g, S::splat(0.5)), S::sqrt(x)),
    }
    /// 1 / sqrt(x).
    Rsqrt = "reciprocal square root", flops 2, {
        value: S::div(S::splat(1.0), S::sqrt(x)),
        derivative: S::div(S::mul(g, S::splat(-0.5)), S::mul(x, S::sqrt(x))),
    }
    /// 1 / x.
    Recip = "reciprocal", flops 1, {
        value: S::div(S::splat(1.0), x),
        derivative: S::div(S::sub(S::splat(0.0), g), S::mul(x, x)),
    }
    /// e^x.
    Exp = "exponential", flops EXP, {
        value: exp::<S>(x),
        derivative: S::mul(g, exp::<S>(x)),
    }
    /// -x.
    Neg = "negation", flops 1, {
        value: S::sub(S::splat(0.0), x),
        derivative: S::sub(S::splat(0.0), g),
    }
}

/// `gradient` where low < x < high, else 0: at the bounds, the derivative of the flat side, as in
/// PyTorch.
#[inline(always)]
unsafe fn between<S: Simd>(x: S::V, low: f32, high: f32, gradient: S::V) -> S::V {
    // SAFETY: no memory is touched; the instruction set is that of the caller.
    unsafe { S::where_larger(x, S::splat(low), S::where_larger(S::splat(high), x, gradient)) }
}

impl Unary {
    /// Applies the function to every value in place.
    pub fn apply(self, isa: Isa, values: &mut [f32]) {
        let row = Rows { start: values.as_mut_ptr(), stride: 0 };
        // SAFETY: one row, of the slice's own length; it is both read and written.
        unsafe { apply_rows(isa, self, row.as_const(), row, [1, values.len()]) }
    }

    /// The function at one point.
    pub fn value(self, x: f32) -> f32 {
        let mut values = [x];
        self.apply(Isa::PORTABLE, &mut values);
        values[0]
    }

    /// Multiplies every gradient by the derivative at the value of the same index. At a corner (ReLU
    /// at 0), the derivative is that of the flat side, as in PyTorch.
    ///
    /// # Panics
    /// If there are not as many values as gradients.
    pub fn multiply_by_derivative(self, isa: Isa, values: &[f32], gradients: &mut [f32]) {
        assert_eq!(values.len(), gradients.len());
        let size = [1, gradients.len()];
        let values = Rows { start: values.as_ptr(), stride: 0 };
        let gradients = Rows { start: gradients.as_mut_ptr(), stride: 0 };
        // SAFETY: one row, of the length that both slices have; the slices do not overlap.
        unsafe {
            multiply_rows_by_derivative(isa, self, values, gradients.as_const(), gradients, size);
        }
    }

    /// The derivative at one point.
    pub fn derivative(self, x: f32) -> f32 {
        let mut gradients = [1.0];
        self.multiply_by_derivative(Isa::PORTABLE, &[x], &mut gradients);
        gradients[0]
    }
}

dispatch! {
    /// Applies `function` to `size` (rows, values a row).
    ///
    /// # Safety
    /// All of the rows must be valid, `from` for reads and `to` for writes; `from` and `to` must be
    /// the same rows, or not overlap.
    pub(crate) unsafe fn apply_rows = value_kernel(
        function: Unary,
        from: Rows<*const f32>,
        to: Rows<*mut f32>,
        size: [usize; 2],
    )
}

dispatch! {
    /// Multiplies `size` (rows, gradients a row) by the derivative of `function` at `values`.
    ///
    /// # Safety
    /// All of the rows must be valid, `values` and `gradients` for reads and `to` for writes;
    /// `gradients` and `to` must be the same rows, or not overlap; `values` must not overlap `to`.
    pub(crate) unsafe fn multiply_rows_by_derivative = derivative_kernel(
        function: Unary,
        values: Rows<*const f32>,
        gradients: Rows<*const f32>,
        to: Rows<*mut f32>,
        size: [usize; 2],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The derivative of every entry of the table against the difference quotient of its value.
    #[test]
    fn derivatives_are_those_of_the_values() {
        for function in EVERY {
            // Positive, since roots are among them, and away from corners.
            for x in [0.2f32, 0.7, 1.1, 2.3] {
                let step = 1.0 / 128.0;
                let rise = function.value(x + step) - function.value(x - step);
                let quotient = rise / (2.0 * step);
                let found = function.derivative(x);
                let bound = 2e-3 * quotient.abs().max(1.0);
                assert!(
                    (found - quotient).abs() < bound,
                    "{function:?} at {x}: {found}, {quotient}"
                );
            }
        }
    }

    #[test]
    fn names_differ_and_costs_are_positive() {
        let names: std::collections::HashSet<&str> =
            EVERY.iter().map(|function| function.name()).collect();
        assert_eq!(names.len(), EVERY.len());
        assert!(EVERY.iter().all(|function| function.flops() > 0));
    }
}
