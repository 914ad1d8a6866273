//! The trait of a vector of float32 values.

use super::unroll::unrolled;
use std::sync::atomic::{Ordering, compiler_fence};

/// Most values that a vector of any instruction set has.
pub(crate) const MAX_VECTOR: usize = 16;

/// A vector of [`Simd::LANES`] float32 values and the operations that kernels use.
///
/// # Safety
/// One contract for every function: the machine must have the instruction set (an
/// [`crate::simd::isa::Isa`] exists only for one that it has, and [`crate::simd::dispatch::dispatch`]
/// calls a kernel with the implementation of that one), and the pointer of a load or store must be
/// valid for as many elements as it touches. No alignment is required.
#[allow(clippy::missing_safety_doc, reason = "one contract for all, above")]
pub(crate) trait Simd: Copy {
    /// Values in a vector.
    const LANES: usize;
    /// Pixels of a tile in the convolution's microkernel: with two vectors of sums a pixel, the tile
    /// fits the registers.
    const ROWS: usize;
    type V: Copy;

    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    /// The first `count` (at most `LANES`) values; zeros after them.
    unsafe fn load_first(from: *const f32, count: usize) -> Self::V;
    /// `LANES` float16 values, widened.
    unsafe fn load_half(from: *const u16) -> Self::V;
    /// `LANES` signed 8-bit integers, as float32.
    unsafe fn load_int8(from: *const i8) -> Self::V;
    unsafe fn store(to: *mut f32, value: Self::V);
    unsafe fn store_first(to: *mut f32, value: Self::V, count: usize);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// The larger one; `b` where either is NaN, so that max(constant, x) keeps NaN.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The smaller one; `b` where either is NaN.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sqrt(a: Self::V) -> Self::V;
    /// `value` where a > b, else 0.
    unsafe fn where_larger(a: Self::V, b: Self::V, value: Self::V) -> Self::V;
    /// a * b + c, rounded once where the machine has a fused multiply-add.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Rounds to the nearest integer.
    unsafe fn round(a: Self::V) -> Self::V;
    /// a * 2^n for integers n in -126..=127.
    unsafe fn scale(a: Self::V, n: Self::V) -> Self::V;
    /// Reciprocal, 1 / a, within a few units in the last place. Of an infinity, 0 or NaN (AVX-512).
    unsafe fn recip(a: Self::V) -> Self::V;
    /// |a| with the sign of `sign`.
    unsafe fn copysign(a: Self::V, sign: Self::V) -> Self::V;
    /// The sum of all values.
    unsafe fn sum(a: Self::V) -> f32;
    /// The largest value of all.
    unsafe fn largest(a: Self::V) -> f32;

    /// Microkernel: adds to the sums of each of `M` pixels its `count` values, each times its row of the weights, `N`
    /// vectors wide.
    #[inline(always)]
    unsafe fn accumulate<const M: usize, const N: usize>(
        sums: &mut [[Self::V; N]; M],
        pixels: &[*const f32; M],
        mut weights: *const f32,
        count: usize,
    ) {
        // SAFETY: the contract of the trait: pixels are valid for `count` values, and weights for as many rows.
        unsafe {
            for k in 0..count {
                let mut w = [Self::splat(0.0); N];
                unrolled!(n below N, {
                    w[n] = Self::load(weights.add(n * Self::LANES));
                });
                unrolled!(m below M, {
                    // Keeps the compiler from loading the values of all pixels first: six of them beside the sums
                    // exceed AVX2's sixteen registers.
                    compiler_fence(Ordering::SeqCst);
                    let value = Self::splat(*pixels[m].add(k));
                    unrolled!(n below N, {
                        sums[m][n] = Self::fma(value, w[n], sums[m][n]);
                    });
                });
                weights = weights.add(N * Self::LANES);
            }
        }
    }
}
