//! NEON (AArch64): vectors of 4 values.

use crate::simd::unroll::unrolled;
use crate::simd::vector::Simd;
use std::arch::aarch64::*;
use std::sync::atomic::{Ordering, compiler_fence};

#[derive(Clone, Copy)]
pub(crate) struct Neon;

/// Partial load: the first two of a vector's values; the others are 0.
#[inline(always)]
unsafe fn pair(from: *const f32) -> float32x4_t {
    // SAFETY: the instruction set is that of the caller; `from` is valid for two values.
    unsafe { vcombine_f32(vld1_f32(from), vdup_n_f32(0.0)) }
}

/// Multiply-accumulate by lane: adds to each pixel's sums value number `LANE` of `values` times a row of weights; the next row is behind it.
#[inline(always)]
unsafe fn add_lane<const LANE: i32, const M: usize, const N: usize>(
    sums: &mut [[float32x4_t; N]; M],
    values: &[float32x4_t; M],
    weights: *const f32,
) -> *const f32 {
    // Keeps the compiler from loading the weights of all lanes first, for which there are no registers.
    compiler_fence(Ordering::SeqCst);
    // SAFETY: the contract of `Simd::accumulate`: there are `N` vectors of weights.
    unsafe {
        let mut w = [vdupq_n_f32(0.0); N];
        unrolled!(n below N, {
            w[n] = vld1q_f32(weights.add(n * Neon::LANES));
        });
        unrolled!(m below M, {
            unrolled!(n below N, {
                sums[m][n] = vfmaq_laneq_f32::<LANE>(sums[m][n], w[n], values[m]);
            });
        });
        weights.add(N * Neon::LANES)
    }
}

#[allow(unsafe_op_in_unsafe_fn, reason = "each body is a few intrinsics")]
impl Simd for Neon {
    const LANES: usize = 4;
    // 16 registers of sums, 8 of pixels, 2 of weights.
    const ROWS: usize = 8;
    type V = float32x4_t;

    #[inline(always)]
    unsafe fn splat(value: f32) -> float32x4_t {
        vdupq_n_f32(value)
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> float32x4_t {
        vld1q_f32(from)
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> float32x4_t {
        // One branch where the vector is whole.
        if count >= Self::LANES {
            return vld1q_f32(from);
        }
        match count {
            0 => vdupq_n_f32(0.0),
            1 => vld1q_lane_f32::<0>(from, vdupq_n_f32(0.0)),
            2 => pair(from),
            _ => vld1q_lane_f32::<2>(from.add(2), pair(from)),
        }
    }
    #[inline(always)]
    unsafe fn load_half(from: *const u16) -> float32x4_t {
        vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from)))
    }
    #[inline(always)]
    unsafe fn load_int8(from: *const i8) -> float32x4_t {
        let bytes = vreinterpret_s8_u32(vdup_n_u32(from.cast::<u32>().read_unaligned()));
        vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))))
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: float32x4_t) {
        vst1q_f32(to, value);
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut f32, value: float32x4_t, count: usize) {
        if count >= Self::LANES {
            return vst1q_f32(to, value);
        }
        match count {
            0 => {}
            1 => vst1q_lane_f32::<0>(to, value),
            2 => vst1_f32(to, vget_low_f32(value)),
            _ => {
                vst1_f32(to, vget_low_f32(value));
                vst1q_lane_f32::<2>(to.add(2), value);
            }
        }
    }
    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vaddq_f32(a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vsubq_f32(a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vmulq_f32(a, b)
    }
    #[inline(always)]
    unsafe fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vdivq_f32(a, b)
    }
    #[inline(always)]
    unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // Not `fmax`, whose result is NaN where `a` is.
        vbslq_f32(vcgtq_f32(a, b), a, b)
    }
    #[inline(always)]
    unsafe fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vbslq_f32(vcltq_f32(a, b), a, b)
    }
    #[inline(always)]
    unsafe fn sqrt(a: float32x4_t) -> float32x4_t {
        vsqrtq_f32(a)
    }
    #[inline(always)]
    unsafe fn where_larger(a: float32x4_t, b: float32x4_t, value: float32x4_t) -> float32x4_t {
        vreinterpretq_f32_u32(vandq_u32(vcgtq_f32(a, b), vreinterpretq_u32_f32(value)))
    }
    #[inline(always)]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        vfmaq_f32(c, a, b)
    }
    #[inline(always)]
    unsafe fn round(a: float32x4_t) -> float32x4_t {
        vrndnq_f32(a)
    }
    #[inline(always)]
    unsafe fn scale(a: float32x4_t, n: float32x4_t) -> float32x4_t {
        let biased = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
        vmulq_f32(a, vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased)))
    }
    #[inline(always)]
    unsafe fn recip(a: float32x4_t) -> float32x4_t {
        // Not an estimate and Newton steps, which make minus infinity of a denormal number.
        vdivq_f32(vdupq_n_f32(1.0), a)
    }
    #[inline(always)]
    unsafe fn copysign(a: float32x4_t, sign: float32x4_t) -> float32x4_t {
        vbslq_f32(vdupq_n_u32(1 << 31), sign, a)
    }
    #[inline(always)]
    unsafe fn sum(a: float32x4_t) -> f32 {
        vaddvq_f32(a)
    }
    #[inline(always)]
    unsafe fn largest(a: float32x4_t) -> f32 {
        vmaxnmvq_f32(a)
    }

    /// Four values of each pixel are loaded at once, and multiplied lane by lane: loading one into all lanes takes an
    /// instruction for each, and on many cores the unit that multiplies.
    #[inline(always)]
    unsafe fn accumulate<const M: usize, const N: usize>(
        sums: &mut [[float32x4_t; N]; M],
        pixels: &[*const f32; M],
        weights: *const f32,
        count: usize,
    ) {
        let (mut pixels, mut weights) = (*pixels, weights);
        let mut values = [vdupq_n_f32(0.0); M];
        for _ in 0..count / 4 {
            unrolled!(m below M, {
                values[m] = vld1q_f32(pixels[m]);
                pixels[m] = pixels[m].add(4);
            });
            weights = add_lane::<0, M, N>(sums, &values, weights);
            weights = add_lane::<1, M, N>(sums, &values, weights);
            weights = add_lane::<2, M, N>(sums, &values, weights);
            weights = add_lane::<3, M, N>(sums, &values, weights);
        }
        for k in 0..count % 4 {
            unrolled!(m below M, {
                values[m] = vld1q_dup_f32(pixels[m].add(k));
            });
            weights = add_lane::<0, M, N>(sums, &values, weights);
        }
    }
}
