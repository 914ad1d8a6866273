//! NEON (AArch64): 4 sums of four products, by whichever instructions the machine has for them
//! ([`super::neon_dot`]).

use super::elementwise::AddInt8;
use super::neon_dot::Dot;
use super::vector::Int8Simd;
use crate::simd::unroll::unrolled;
use std::arch::aarch64::*;
use std::marker::PhantomData;

#[derive(Clone, Copy)]
pub(crate) struct Neon<D>(PhantomData<D>);

/// Partial load: the first `count` (at most 8) bytes as the lower ones of a number; the others are 0.
#[inline(always)]
unsafe fn read_first(from: *const u8, count: usize) -> u64 {
    // SAFETY: no byte from `count` on is read; parts that overlap have the same bytes where they do.
    unsafe {
        let four = |at: usize| u64::from(from.add(at).cast::<u32>().read_unaligned()) << (8 * at);
        let one = |at: usize| u64::from(from.add(at).read()) << (8 * at);
        match count {
            0 => 0,
            1..=3 => one(0) | one(count / 2) | one(count - 1),
            4..=7 => four(0) | four(count - 4),
            _ => from.cast::<u64>().read_unaligned(),
        }
    }
}

/// Partial store: writes the lower `count` (at most 8) bytes of a number.
#[inline(always)]
unsafe fn write_first(to: *mut u8, bytes: u64, count: usize) {
    // SAFETY: no byte from `count` on is written.
    unsafe {
        let four = |at| to.add(at).cast::<u32>().write_unaligned((bytes >> (8 * at)) as u32);
        let one = |at| to.add(at).write((bytes >> (8 * at)) as u8);
        match count {
            0 => {}
            1..=3 => [0, count / 2, count - 1].into_iter().for_each(one),
            4..=7 => [0, count - 4].into_iter().for_each(four),
            _ => to.cast::<u64>().write_unaligned(bytes),
        }
    }
}

/// Centring: activations less [`Dot::OFFSET`].
#[inline(always)]
unsafe fn centred<D: Dot>(activations: uint8x16_t) -> uint8x16_t {
    // SAFETY: the instruction set is that of the caller.
    unsafe {
        match D::OFFSET {
            0 => activations,
            // Of a byte less 128 the highest bit is another.
            _ => veorq_u8(activations, vdupq_n_u8(128)),
        }
    }
}

/// Multiply-accumulate by lane: adds to each pixel's sums the products of group number `LANE` of its `values` and a row of weights; the next row is
/// behind it.
#[inline(always)]
unsafe fn add_lane<D: Dot, const LANE: i32, const M: usize, const N: usize>(
    sums: &mut [[uint8x16_t; N]; M],
    values: &[uint8x16_t; M],
    weights: *const u8,
) -> *const u8 {
    // SAFETY: the contract of `Int8Simd::accumulate`: there are `N` vectors of weights.
    unsafe {
        let mut w = [vdupq_n_s8(0); N];
        unrolled!(n below N, {
            w[n] = vld1q_s8(weights.add(16 * n).cast());
        });
        unrolled!(m below M, {
            unrolled!(n below N, {
                let sum = vreinterpretq_s32_u8(sums[m][n]);
                sums[m][n] = vreinterpretq_u8_s32(D::dot_lane::<LANE>(sum, values[m], w[n]));
            });
        });
        weights.add(16 * N)
    }
}

#[allow(unsafe_op_in_unsafe_fn, reason = "each body is a few intrinsics")]
impl<D: Dot> Int8Simd for Neon<D> {
    const LANES: usize = 4;
    const REGISTERS: usize = 32;
    type V = uint8x16_t;
    type Half = Self;

    #[inline(always)]
    unsafe fn splat(value: i32) -> uint8x16_t {
        vreinterpretq_u8_s32(vdupq_n_s32(value))
    }
    #[inline(always)]
    unsafe fn splat_bytes(from: *const u8) -> uint8x16_t {
        Self::splat(from.cast::<i32>().read_unaligned())
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> uint8x16_t {
        vld1q_u8(from)
    }
    #[inline(always)]
    unsafe fn load_first(from: *const u8, count: usize) -> uint8x16_t {
        if count >= Self::BYTES {
            return Self::load(from);
        }
        let low = read_first(from, count.min(8));
        let high = if count > 8 { read_first(from.add(8), count - 8) } else { 0 };
        vcombine_u8(vcreate_u8(low), vcreate_u8(high))
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut u8, value: uint8x16_t, count: usize) {
        if count >= Self::BYTES {
            return vst1q_u8(to, value);
        }
        let halves = vreinterpretq_u64_u8(value);
        write_first(to, vgetq_lane_u64::<0>(halves), count.min(8));
        if count > 8 {
            write_first(to.add(8), vgetq_lane_u64::<1>(halves), count - 8);
        }
    }
    #[inline(always)]
    unsafe fn dot(sums: uint8x16_t, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        let (sums, b) = (vreinterpretq_s32_u8(sums), vreinterpretq_s8_u8(b));
        vreinterpretq_u8_s32(D::dot(sums, centred::<D>(a), b))
    }
    #[inline(always)]
    unsafe fn requantize(
        sums: uint8x16_t,
        scales: *const f32,
        zero_point: i32,
        low: i32,
        high: i32,
    ) -> uint8x16_t {
        let scaled = vmulq_f32(vcvtq_f32_s32(vreinterpretq_s32_u8(sums)), vld1q_f32(scales));
        let bounded = vminq_f32(scaled, vdupq_n_f32(super::requantize::LARGE));
        let rounded = vaddq_s32(vcvtnq_s32_f32(bounded), vdupq_n_s32(zero_point));
        let above = vmaxq_s32(rounded, vdupq_n_s32(low));
        vreinterpretq_u8_s32(vminq_s32(above, vdupq_n_s32(high)))
    }
    #[inline(always)]
    unsafe fn add(
        sum: &AddInt8,
        lanes: uint8x16_t,
        other: *const u8,
        is_left: bool,
        count: usize,
    ) -> uint8x16_t {
        let other = vmovl_u8(vcreate_u8(read_first(other, count.min(Self::LANES))));
        let other = vcvtq_f32_u32(vmovl_u16(vget_low_u16(other)));
        let lanes = vcvtq_f32_s32(vreinterpretq_s32_u8(lanes));
        let [left, right] = if is_left { [other, lanes] } else { [lanes, other] };
        let [left_scale, right_scale, offset] =
            [sum.left_scale, sum.right_scale, sum.offset].map(|value| vdupq_n_f32(value));
        let right = vfmaq_f32(offset, right, right_scale);
        let value = vfmaq_f32(right, left, left_scale);
        let [low, high] = [sum.low, sum.high].map(|bound| vdupq_n_f32(bound.into()));
        // Of a NaN and a number, the number.
        let bounded = vminnmq_f32(vmaxnmq_f32(value, low), high);
        vreinterpretq_u8_s32(vcvtnq_s32_f32(bounded))
    }
    #[inline(always)]
    unsafe fn store_lanes(to: *mut u8, value: uint8x16_t, count: usize) {
        let pairs = vmovn_u32(vreinterpretq_u32_u8(value));
        let bytes = vreinterpret_u64_u8(vmovn_u16(vcombine_u16(pairs, pairs)));
        write_first(to, vget_lane_u64::<0>(bytes), count.min(Self::LANES));
    }
    #[inline(always)]
    unsafe fn interleave_bytes(a: uint8x16_t, b: uint8x16_t) -> [uint8x16_t; 2] {
        [vzip1q_u8(a, b), vzip2q_u8(a, b)]
    }
    #[inline(always)]
    unsafe fn interleave_pairs(a: uint8x16_t, b: uint8x16_t) -> [uint8x16_t; 2] {
        let (a, b) = (vreinterpretq_u16_u8(a), vreinterpretq_u16_u8(b));
        [vreinterpretq_u8_u16(vzip1q_u16(a, b)), vreinterpretq_u8_u16(vzip2q_u16(a, b))]
    }
    #[inline(always)]
    unsafe fn pack(lanes: [uint8x16_t; 4]) -> uint8x16_t {
        let [a, b, c, d] = lanes.map(|lanes| vreinterpretq_u16_u8(lanes));
        let [ab, cd] = [vuzp1q_u16(a, b), vuzp1q_u16(c, d)];
        vuzp1q_u8(vreinterpretq_u8_u16(ab), vreinterpretq_u8_u16(cd))
    }

    /// Four groups of each pixel are loaded at once; the instructions take one of them.
    #[inline(always)]
    unsafe fn accumulate<const M: usize, const N: usize>(
        sums: &mut [[uint8x16_t; N]; M],
        pixels: &[*const u8; M],
        weights: *const u8,
        quads: usize,
    ) {
        let (mut pixels, mut weights) = (*pixels, weights);
        let mut values = [vdupq_n_u8(0); M];
        for _ in 0..quads / 4 {
            unrolled!(m below M, {
                values[m] = centred::<D>(vld1q_u8(pixels[m]));
                pixels[m] = pixels[m].add(16);
            });
            weights = add_lane::<D, 0, M, N>(sums, &values, weights);
            weights = add_lane::<D, 1, M, N>(sums, &values, weights);
            weights = add_lane::<D, 2, M, N>(sums, &values, weights);
            weights = add_lane::<D, 3, M, N>(sums, &values, weights);
        }
        for quad in 0..quads % 4 {
            unrolled!(m below M, {
                values[m] = centred::<D>(Self::splat_bytes(pixels[m].add(4 * quad)));
            });
            weights = add_lane::<D, 0, M, N>(sums, &values, weights);
        }
    }
}
