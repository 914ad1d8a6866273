//! Transcendental functions of vectors.

use crate::simd::vector::Simd;

/// Clamps to 0..=1; NaN stays NaN.
#[inline(always)]
pub(crate) unsafe fn unit<S: Simd>(x: S::V) -> S::V {
    // SAFETY: no memory is touched; the instruction set is that of the caller.
    unsafe { S::min(S::splat(1.0), S::max(S::splat(0.0), x)) }
}

/// e^x = 2^n e^r with |r| <= ln(2)/2; e^r by its Taylor polynomial of degree 6 (relative error below
/// 2e-7). x is clamped to the range where the result is a normal number; NaN stays NaN.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: no memory is touched; the instruction set is that of the caller.
    unsafe {
        let x = S::min(S::splat(88.0), S::max(S::splat(-87.0), x));
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

/// Logistic function, 1 / (1 + e^-x).
#[inline(always)]
pub(crate) unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    // SAFETY: no memory is touched; the instruction set is that of the caller.
    unsafe {
        let one = S::splat(1.0);
        S::recip(S::add(one, exp::<S>(S::sub(S::splat(0.0), x))))
    }
}

/// Hyperbolic tangent, 2 sigmoid(2x) - 1.
#[inline(always)]
pub(crate) unsafe fn tanh<S: Simd>(x: S::V) -> S::V {
    // SAFETY: no memory is touched; the instruction set is that of the caller.
    unsafe {
        let s = sigmoid::<S>(S::add(x, x));
        S::sub(S::add(s, s), S::splat(1.0))
    }
}

/// Error function by Abramowitz and Stegun, *Handbook of Mathematical Functions*, 7.1.26 (absolute
/// error below 1.5e-7). Of an infinity, NaN where [`Simd::recip`] is.
#[inline(always)]
pub(crate) unsafe fn erf<S: Simd>(x: S::V) -> S::V {
    // SAFETY: no memory is touched; the instruction set is that of the caller.
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
