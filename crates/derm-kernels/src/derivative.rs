//! Derivatives of the functions of one value.

use crate::Activation;
use crate::activation::{erf, exp, sigmoid};
use crate::isa::{Isa, dispatch};
use crate::rows::Rows;
use crate::simd::Simd;

/// Multiplies every gradient by the derivative of `activation` at the value beside it. Where a
/// function has a corner (ReLU at 0), the derivative is that of its flat side, as PyTorch has it.
///
/// # Panics
/// If there are not as many values as gradients.
pub fn differentiate(isa: Isa, activation: Activation, values: &[f32], gradients: &mut [f32]) {
    assert_eq!(values.len(), gradients.len());
    let size = [1, gradients.len()];
    let values = Rows { at: values.as_ptr(), stride: 0 };
    let gradients = Rows { at: gradients.as_mut_ptr(), stride: 0 };
    // SAFETY: one row of as many elements as both have.
    unsafe { differentiate_rows(isa, activation, values, gradients.read(), gradients, size) }
}

dispatch! {
    /// Does it to rows of `width` gradients.
    ///
    /// # Safety
    /// All of them must be valid; `gradients` and `to` are the same or apart.
    pub(crate) unsafe fn differentiate_rows = rows_with(
        activation: Activation,
        values: Rows<*const f32>,
        gradients: Rows<*const f32>,
        to: Rows<*mut f32>,
        size: [usize; 2],
    )
}

#[inline(always)]
unsafe fn rows_with<S: Simd>(
    activation: Activation,
    values: Rows<*const f32>,
    gradients: Rows<*const f32>,
    to: Rows<*mut f32>,
    [rows, width]: [usize; 2],
) {
    // A macro for the reason that is given in `activation.rs`.
    macro_rules! with {
        (|$x:ident, $g:ident| $result:expr) => {{
            for row in 0..rows {
                let (values, gradients) = (values.row(row), gradients.row(row));
                let to = to.row(row);
                let whole = width - width % S::LANES;
                for i in (0..whole).step_by(S::LANES) {
                    let ($x, $g) = (S::load(values.add(i)), S::load(gradients.add(i)));
                    S::store(to.add(i), $result);
                }
                if whole < width {
                    let rest = width - whole;
                    let $x = S::load_first(values.add(whole), rest);
                    let $g = S::load_first(gradients.add(whole), rest);
                    S::store_first(to.add(whole), $result, rest);
                }
            }
        }};
    }
    // SAFETY: the caller's contract.
    unsafe {
        let zero = S::splat(0.0);
        let one = S::splat(1.0);
        match activation {
            Activation::Clamp(low, high) => {
                with!(|x, g| between::<S>(x, low, high, g));
            }
            Activation::Sigmoid => {
                with!(|x, g| {
                    let s = sigmoid::<S>(x);
                    S::mul(g, S::mul(s, S::sub(one, s)))
                });
            }
            Activation::Silu => {
                // s (1 + x (1 - s))
                with!(|x, g| {
                    let s = sigmoid::<S>(x);
                    S::mul(g, S::mul(s, S::fma(x, S::sub(one, s), one)))
                });
            }
            Activation::HardSigmoid { alpha, beta } => {
                let (a, b) = (S::splat(alpha), S::splat(beta));
                with!(|x, g| between::<S>(S::fma(x, a, b), 0.0, 1.0, S::mul(g, a)));
            }
            Activation::HardSwish => {
                let (third, half) = (S::splat(1.0 / 3.0), S::splat(0.5));
                with!(|x, g| {
                    let inner = between::<S>(x, -3.0, 3.0, S::mul(g, S::fma(x, third, half)));
                    // At 3 itself 1 as well.
                    S::add(inner, S::sub(g, S::where_larger(S::splat(3.0), x, g)))
                });
            }
            Activation::Tanh => {
                with!(|x, g| {
                    let s = sigmoid::<S>(S::add(x, x));
                    let t = S::sub(S::add(s, s), one);
                    S::mul(g, S::sub(one, S::mul(t, t)))
                });
            }
            Activation::Gelu => {
                let root = S::splat(std::f32::consts::FRAC_1_SQRT_2);
                // 1 / sqrt(2 pi)
                let peak = S::splat(0.398_942_3);
                let half = S::splat(0.5);
                with!(|x, g| {
                    let cumulative = S::fma(erf::<S>(S::mul(x, root)), half, half);
                    let square = S::mul(S::mul(x, x), S::splat(-0.5));
                    let density = S::mul(peak, exp::<S>(square));
                    S::mul(g, S::fma(x, density, cumulative))
                });
            }
            Activation::LeakyRelu(slope) => {
                let slope = S::splat(slope);
                with!(|x, g| {
                    let positive = S::where_larger(x, zero, g);
                    S::fma(slope, S::sub(g, positive), positive)
                });
            }
            Activation::Linear(scale, _) => with!(|_x, g| S::mul(g, S::splat(scale))),
            Activation::Square => with!(|x, g| S::mul(g, S::add(x, x))),
            Activation::Sqrt => with!(|x, g| S::div(S::mul(g, S::splat(0.5)), S::sqrt(x))),
            Activation::Rsqrt => {
                with!(|x, g| S::div(S::mul(g, S::splat(-0.5)), S::mul(x, S::sqrt(x))));
            }
            Activation::Recip => with!(|x, g| S::div(S::sub(zero, g), S::mul(x, x))),
            Activation::Exp => with!(|x, g| S::mul(g, exp::<S>(x))),
            Activation::Neg => with!(|_x, g| S::sub(zero, g)),
        }
    }
}

/// `gradient` where low < x < high, else 0.
#[inline(always)]
unsafe fn between<S: Simd>(x: S::V, low: f32, high: f32, gradient: S::V) -> S::V {
    // SAFETY: the instruction set is the caller's.
    unsafe { S::where_larger(x, S::splat(low), S::where_larger(S::splat(high), x, gradient)) }
}
