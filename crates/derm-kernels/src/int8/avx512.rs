//! AVX-512 with VNNI: 16 sums of four products, and 8 in half vectors.

use super::avx2;
use super::avx2_dot::Widening;
use super::elementwise::AddInt8;
use super::vector::Int8Simd;
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx512Vnni;

/// The same instructions on half vectors (AVX-512VL); where they are none of AVX-512, those of AVX2.
#[derive(Clone, Copy)]
pub(crate) struct Avx512VnniHalf;

/// What half vectors share with AVX2; [`Int8Simd::dot`] is not of it.
type Avx2 = avx2::Avx2<Widening>;

/// A mask with bytes 0..count set.
fn mask(count: usize) -> __mmask64 {
    if count >= 64 { u64::MAX } else { (1u64 << count) - 1 }
}

#[allow(unsafe_op_in_unsafe_fn, reason = "each body is a few intrinsics")]
impl Int8Simd for Avx512Vnni {
    const LANES: usize = 16;
    const REGISTERS: usize = 32;
    type V = __m512i;
    type Half = Avx512VnniHalf;

    #[inline(always)]
    unsafe fn splat(value: i32) -> __m512i {
        _mm512_set1_epi32(value)
    }
    #[inline(always)]
    unsafe fn splat_bytes(from: *const u8) -> __m512i {
        _mm512_set1_epi32(from.cast::<i32>().read_unaligned())
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> __m512i {
        _mm512_loadu_si512(from.cast())
    }
    #[inline(always)]
    unsafe fn load_first(from: *const u8, count: usize) -> __m512i {
        _mm512_maskz_loadu_epi8(mask(count), from.cast())
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut u8, value: __m512i, count: usize) {
        _mm512_mask_storeu_epi8(to.cast(), mask(count), value);
    }
    #[inline(always)]
    unsafe fn dot(sums: __m512i, a: __m512i, b: __m512i) -> __m512i {
        _mm512_dpbusd_epi32(sums, a, b)
    }
    #[inline(always)]
    unsafe fn requantize(
        sums: __m512i,
        scales: *const f32,
        zero_point: i32,
        low: i32,
        high: i32,
    ) -> __m512i {
        let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_loadu_ps(scales));
        let bounded = _mm512_min_ps(scaled, _mm512_set1_ps(super::requantize::LARGE));
        let rounded = _mm512_add_epi32(_mm512_cvtps_epi32(bounded), _mm512_set1_epi32(zero_point));
        let above = _mm512_max_epi32(rounded, _mm512_set1_epi32(low));
        _mm512_min_epi32(above, _mm512_set1_epi32(high))
    }
    #[inline(always)]
    unsafe fn add(
        sum: &AddInt8,
        lanes: __m512i,
        other: *const u8,
        is_left: bool,
        count: usize,
    ) -> __m512i {
        let other = _mm_maskz_loadu_epi8(mask(count) as __mmask16, other.cast());
        let other = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(other));
        let lanes = _mm512_cvtepi32_ps(lanes);
        let [left, right] = if is_left { [other, lanes] } else { [lanes, other] };
        let [left_scale, right_scale, offset] =
            [sum.left_scale, sum.right_scale, sum.offset].map(|value| _mm512_set1_ps(value));
        let right = _mm512_fmadd_ps(right, right_scale, offset);
        let value = _mm512_fmadd_ps(left, left_scale, right);
        let [low, high] = [sum.low, sum.high].map(|bound| _mm512_set1_ps(bound.into()));
        // Of a NaN the maximum is its second operand.
        _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(value, low), high))
    }
    #[inline(always)]
    unsafe fn store_lanes(to: *mut u8, value: __m512i, count: usize) {
        _mm512_mask_cvtepi32_storeu_epi8(to.cast(), mask(count) as __mmask16, value);
    }
    #[inline(always)]
    unsafe fn interleave_bytes(a: __m512i, b: __m512i) -> [__m512i; 2] {
        [_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b)]
    }
    #[inline(always)]
    unsafe fn interleave_pairs(a: __m512i, b: __m512i) -> [__m512i; 2] {
        [_mm512_unpacklo_epi16(a, b), _mm512_unpackhi_epi16(a, b)]
    }
    #[inline(always)]
    unsafe fn pack(lanes: [__m512i; 4]) -> __m512i {
        let [a, b, c, d] = lanes;
        _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d))
    }
}

#[allow(unsafe_op_in_unsafe_fn, reason = "each body is a few intrinsics")]
impl Int8Simd for Avx512VnniHalf {
    const LANES: usize = 8;
    const REGISTERS: usize = 32;
    type V = __m256i;
    type Half = Self;

    #[inline(always)]
    unsafe fn splat(value: i32) -> __m256i {
        Avx2::splat(value)
    }
    #[inline(always)]
    unsafe fn splat_bytes(from: *const u8) -> __m256i {
        Avx2::splat_bytes(from)
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> __m256i {
        Avx2::load(from)
    }
    #[inline(always)]
    unsafe fn load_first(from: *const u8, count: usize) -> __m256i {
        _mm256_maskz_loadu_epi8(mask(count) as __mmask32, from.cast())
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut u8, value: __m256i, count: usize) {
        _mm256_mask_storeu_epi8(to.cast(), mask(count) as __mmask32, value);
    }
    #[inline(always)]
    unsafe fn dot(sums: __m256i, a: __m256i, b: __m256i) -> __m256i {
        _mm256_dpbusd_epi32(sums, a, b)
    }
    #[inline(always)]
    unsafe fn requantize(
        sums: __m256i,
        scales: *const f32,
        zero_point: i32,
        low: i32,
        high: i32,
    ) -> __m256i {
        Avx2::requantize(sums, scales, zero_point, low, high)
    }
    #[inline(always)]
    unsafe fn add(
        sum: &AddInt8,
        lanes: __m256i,
        other: *const u8,
        is_left: bool,
        count: usize,
    ) -> __m256i {
        Avx2::add(sum, lanes, other, is_left, count)
    }
    #[inline(always)]
    unsafe fn store_lanes(to: *mut u8, value: __m256i, count: usize) {
        _mm256_mask_cvtepi32_storeu_epi8(to.cast(), mask(count) as __mmask8, value);
    }
    #[inline(always)]
    unsafe fn interleave_bytes(a: __m256i, b: __m256i) -> [__m256i; 2] {
        Avx2::interleave_bytes(a, b)
    }
    #[inline(always)]
    unsafe fn interleave_pairs(a: __m256i, b: __m256i) -> [__m256i; 2] {
        Avx2::interleave_pairs(a, b)
    }
    #[inline(always)]
    unsafe fn pack(lanes: [__m256i; 4]) -> __m256i {
        Avx2::pack(lanes)
    }
}
