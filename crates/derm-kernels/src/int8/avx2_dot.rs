//! Dot products of four bytes in AVX2: two ways, of two generations of machines.

use std::arch::x86_64::*;

/// Dot product: how the products of a vector are summed.
///
/// # Safety
/// The function needs the instruction set.
pub(crate) trait Dot: Copy {
    /// Adds to each sum the four products of unsigned activations and signed weights in its lane. Exact.
    unsafe fn dot(sums: __m256i, activations: __m256i, weights: __m256i) -> __m256i;
}

/// AVX-VNNI: one instruction, of machines without AVX-512 too (Intel since Alder Lake, AMD since Zen 5).
#[derive(Clone, Copy)]
pub(crate) struct AvxVnni;

impl Dot for AvxVnni {
    #[inline(always)]
    unsafe fn dot(sums: __m256i, activations: __m256i, weights: __m256i) -> __m256i {
        // SAFETY: the contract of the trait.
        unsafe { _mm256_dpbusd_avx_epi32(sums, activations, weights) }
    }
}

/// What every machine with AVX2 has: `vpmaddubsw` would take half the instructions, but saturates: two products of a `u8`
/// and an `i8` need 17 bits. Even and odd bytes are therefore widened to 16 bits, and `vpmaddwd` adds them in 32.
#[derive(Clone, Copy)]
pub(crate) struct Widening;

#[allow(unsafe_op_in_unsafe_fn, reason = "the body is a few intrinsics")]
impl Dot for Widening {
    #[inline(always)]
    unsafe fn dot(sums: __m256i, activations: __m256i, weights: __m256i) -> __m256i {
        let even = _mm256_madd_epi16(
            _mm256_and_si256(activations, _mm256_set1_epi16(0xff)),
            _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(weights)),
        );
        let odd =
            _mm256_madd_epi16(_mm256_srli_epi16::<8>(activations), _mm256_srai_epi16::<8>(weights));
        _mm256_add_epi32(sums, _mm256_add_epi32(even, odd))
    }
}
