//! Functions of one value.

use crate::isa::{Isa, dispatch};
use crate::rows::Rows;
use crate::simd::Simd;

/// A function applied to every value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// Held between two values: ReLU is 0..infinity, ReLU6 0..6.
    Clamp(f32, f32),
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// x * sigmoid(x); also called swish.
    Silu,
    /// max(0, min(1, alpha x + beta)).
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Value at zero.
        beta: f32,
    },
    /// x * max(0, min(1, x / 6 + 1/2)).
    HardSwish,
    /// (e^x - e^-x) / (e^x + e^-x).
    Tanh,
    /// x / 2 * (1 + erf(x / sqrt 2)), the exact GELU. erf is Abramowitz and Stegun's 7.1.26 (off by
    /// less than 1.5e-7).
    Gelu,
    /// x for x > 0, else a multiple of it.
    LeakyRelu(f32),
    /// scale * x + offset.
    Linear(f32, f32),
    /// x^2.
    Square,
    /// Square root.
    Sqrt,
    /// 1 / sqrt(x).
    Rsqrt,
    /// 1 / x.
    Recip,
    /// e^x.
    Exp,
    /// -x.
    Neg,
}

/// Applies `activation` to every value in place.
pub fn activate(isa: Isa, activation: Activation, values: &mut [f32]) {
    let line = Rows { at: values.as_mut_ptr(), stride: 0 };
    // SAFETY: one row of the slice's own length.
    unsafe { activate_rows(isa, activation, line.read(), line, [1, values.len()]) }
}

dispatch! {
    /// Applies `activation` to rows of `width` values.
    ///
    /// # Safety
    /// All of them must be valid; `from` and `to` are the same or apart.
    pub(crate) unsafe fn activate_rows = rows_with(
        activation: Activation,
        from: Rows<*const f32>,
        to: Rows<*mut f32>,
        size: [usize; 2],
    )
}

#[inline(always)]
unsafe fn rows_with<S: Simd>(
    activation: Activation,
    from: Rows<*const f32>,
    to: Rows<*mut f32>,
    [rows, width]: [usize; 2],
) {
    // A macro, not a closure: a closure is compiled without the caller's instruction set, and the
    // compiler then calls every intrinsic instead of writing it down.
    macro_rules! with {
        (|$x:ident| $result:expr) => {
            for row in 0..rows {
                let (from, to) = (from.row(row), to.row(row));
                let whole = width - width % S::LANES;
                for i in (0..whole).step_by(S::LANES) {
                    let $x = S::load(from.add(i));
                    S::store(to.add(i), $result);
                }
                if whole < width {
                    let $x = S::load_first(from.add(whole), width - whole);
                    S::store_first(to.add(whole), $result, width - whole);
                }
            }
        };
    }
    // SAFETY: the caller's contract.
    unsafe {
        match activation {
            Activation::Clamp(low, high) => {
                with!(|x| S::min(S::max(x, S::splat(low)), S::splat(high)));
            }
            Activation::Sigmoid => with!(|x| sigmoid::<S>(x)),
            Activation::Silu => with!(|x| silu::<S>(x)),
            Activation::HardSigmoid { alpha, beta } => {
                with!(|x| unit::<S>(S::fma(x, S::splat(alpha), S::splat(beta))));
            }
            Activation::HardSwish => {
                with!(|x| S::mul(x, unit::<S>(S::fma(x, S::splat(1.0 / 6.0), S::splat(0.5)))));
            }
            Activation::Tanh => with!(|x| {
                // 2 sigmoid(2x) - 1
                let s = sigmoid::<S>(S::add(x, x));
                S::sub(S::add(s, s), S::splat(1.0))
            }),
            Activation::Gelu => with!(|x| {
                let erf = erf::<S>(S::mul(x, S::splat(std::f32::consts::FRAC_1_SQRT_2)));
                S::mul(S::mul(x, S::splat(0.5)), S::add(erf, S::splat(1.0)))
            }),
            Activation::LeakyRelu(slope) => with!(|x| {
                let zero = S::splat(0.0);
                S::fma(S::min(x, zero), S::splat(slope), S::max(x, zero))
            }),
            Activation::Linear(scale, offset) => {
                with!(|x| S::fma(x, S::splat(scale), S::splat(offset)));
            }
            Activation::Square => with!(|x| S::mul(x, x)),
            Activation::Sqrt => with!(|x| S::sqrt(x)),
            Activation::Rsqrt => with!(|x| S::div(S::splat(1.0), S::sqrt(x))),
            Activation::Recip => with!(|x| S::div(S::splat(1.0), x)),
            Activation::Exp => with!(|x| exp::<S>(x)),
            Activation::Neg => with!(|x| S::sub(S::splat(0.0), x)),
        }
    }
}

/// Held between 0 and 1.
#[inline(always)]
unsafe fn unit<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the instruction set is the caller's.
    unsafe { S::min(S::max(x, S::splat(0.0)), S::splat(1.0)) }
}

/// e^x: 2^n e^r with |r| <= ln(2)/2, e^r by its Taylor polynomial of degree 6 (off by less than
/// 2e-7 of its value). Held to the range where the result is a normal number.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the instruction set is the caller's.
    unsafe {
        let x = S::min(S::max(x, S::splat(-87.0)), S::splat(88.0));
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        // ln 2 in two parts, so that n times the first is exact.
        let r = S::fma(n, S::splat(-0.693_359_4), x);
        let r = S::fma(n, S::splat(2.121_944_4e-4), r);
        let mut p = S::splat(1.0 / 720.0);
        for coefficient in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            p = S::fma(p, r, S::splat(coefficient));
        }
        S::scale(p, n)
    }
}

#[inline(always)]
pub(crate) unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the instruction set is the caller's.
    unsafe {
        let one = S::splat(1.0);
        S::recip(S::add(one, exp::<S>(S::sub(S::splat(0.0), x))))
    }
}

#[inline(always)]
unsafe fn silu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the instruction set is the caller's.
    unsafe { S::mul(x, S::recip(S::add(S::splat(1.0), exp::<S>(S::sub(S::splat(0.0), x))))) }
}

#[inline(always)]
pub(crate) unsafe fn erf<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the instruction set is the caller's.
    unsafe {
        let one = S::splat(1.0);
        let positive = S::copysign(x, one);
        let t = S::recip(S::fma(positive, S::splat(0.327_591_1), one));
        let mut p = S::splat(1.061_405_4);
        for coefficient in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
            p = S::fma(p, t, S::splat(coefficient));
        }
        let tail = S::mul(S::mul(p, t), exp::<S>(S::sub(S::splat(0.0), S::mul(x, x))));
        S::copysign(S::sub(one, tail), x)
    }
}
