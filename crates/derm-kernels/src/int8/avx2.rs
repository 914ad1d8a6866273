//! AVX2: 8 sums of four products, by whichever instructions the machine has for them
//! ([`super::avx2_dot`]).

use super::avx2_dot::Dot;
use super::elementwise::AddInt8;
use super::vector::Int8Simd;
use std::arch::x86_64::*;
use std::marker::PhantomData;

#[derive(Clone, Copy)]
pub(crate) struct Avx2<D>(PhantomData<D>);

#[allow(unsafe_op_in_unsafe_fn, reason = "each body is a few intrinsics")]
impl<D: Dot> Int8Simd for Avx2<D> {
    const LANES: usize = 8;
    const REGISTERS: usize = 16;
    type V = __m256i;
    type Half = Self;

    #[inline(always)]
    unsafe fn splat(value: i32) -> __m256i {
        _mm256_set1_epi32(value)
    }
    #[inline(always)]
    unsafe fn splat_bytes(from: *const u8) -> __m256i {
        _mm256_set1_epi32(from.cast::<i32>().read_unaligned())
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> __m256i {
        _mm256_loadu_si256(from.cast())
    }
    #[inline(always)]
    unsafe fn load_first(from: *const u8, count: usize) -> __m256i {
        if count >= Self::BYTES {
            return Self::load(from);
        }
        let mut bytes = [0u8; 32];
        std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), count);
        Self::load(bytes.as_ptr())
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut u8, value: __m256i, count: usize) {
        if count >= Self::BYTES {
            return _mm256_storeu_si256(to.cast(), value);
        }
        let mut bytes = [0u8; 32];
        _mm256_storeu_si256(bytes.as_mut_ptr().cast(), value);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, count);
    }
    #[inline(always)]
    unsafe fn dot(sums: __m256i, a: __m256i, b: __m256i) -> __m256i {
        D::dot(sums, a, b)
    }
    #[inline(always)]
    unsafe fn requantize(
        sums: __m256i,
        scales: *const f32,
        zero_point: i32,
        low: i32,
        high: i32,
    ) -> __m256i {
        let scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_loadu_ps(scales));
        let bounded = _mm256_min_ps(scaled, _mm256_set1_ps(super::requantize::LARGE));
        let rounded = _mm256_add_epi32(_mm256_cvtps_epi32(bounded), _mm256_set1_epi32(zero_point));
        let above = _mm256_max_epi32(rounded, _mm256_set1_epi32(low));
        _mm256_min_epi32(above, _mm256_set1_epi32(high))
    }
    #[inline(always)]
    unsafe fn add(
        sum: &AddInt8,
        lanes: __m256i,
        other: *const u8,
        is_left: bool,
        count: usize,
    ) -> __m256i {
        let mut bytes = [0u8; 8];
        if count >= Self::LANES {
            bytes = other.cast::<[u8; 8]>().read_unaligned();
        } else {
            std::ptr::copy_nonoverlapping(other, bytes.as_mut_ptr(), count);
        }
        let other = _mm_cvtsi64_si128(i64::from_le_bytes(bytes));
        let other = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(other));
        let lanes = _mm256_cvtepi32_ps(lanes);
        let [left, right] = if is_left { [other, lanes] } else { [lanes, other] };
        let [left_scale, right_scale, offset] =
            [sum.left_scale, sum.right_scale, sum.offset].map(|value| _mm256_set1_ps(value));
        let right = _mm256_fmadd_ps(right, right_scale, offset);
        let value = _mm256_fmadd_ps(left, left_scale, right);
        let [low, high] = [sum.low, sum.high].map(|bound| _mm256_set1_ps(bound.into()));
        // Of a NaN the maximum is its second operand.
        _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(value, low), high))
    }
    #[inline(always)]
    unsafe fn store_lanes(to: *mut u8, value: __m256i, count: usize) {
        let low = _mm256_castsi256_si128(value);
        let high = _mm256_extracti128_si256::<1>(value);
        let pairs = _mm_packs_epi32(low, high);
        let bytes = _mm_packus_epi16(pairs, pairs);
        if count >= Self::LANES {
            return _mm_storel_epi64(to.cast(), bytes);
        }
        let all = _mm_cvtsi128_si64(bytes).to_le_bytes();
        std::ptr::copy_nonoverlapping(all.as_ptr(), to, count);
    }
    #[inline(always)]
    unsafe fn interleave_bytes(a: __m256i, b: __m256i) -> [__m256i; 2] {
        [_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b)]
    }
    #[inline(always)]
    unsafe fn interleave_pairs(a: __m256i, b: __m256i) -> [__m256i; 2] {
        [_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)]
    }
    #[inline(always)]
    unsafe fn pack(lanes: [__m256i; 4]) -> __m256i {
        let [a, b, c, d] = lanes;
        _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d))
    }
}
