//! Vectors of bytes and of the 32-bit sums of their products: one trait, one implementation for each
//! instruction set.

use super::elementwise::AddInt8;
use crate::simd::unroll::unrolled;

/// A vector of `4 * LANES` bytes, which are `LANES` 32-bit sums, or four bytes for each of them.
///
/// # Safety
/// Every function needs the instruction set; pointers must be valid for what a function says it reads
/// or writes.
pub(crate) trait Int8Simd: Copy {
    /// 32-bit lanes.
    const LANES: usize;
    /// Bytes.
    const BYTES: usize = 4 * Self::LANES;
    /// Register count: the vectors that the processor's registers hold.
    const REGISTERS: usize;
    type V: Copy;
    /// Vectors of half the size, for a few channels that are left over; `Self` where there are none.
    type Half: Int8Simd;

    /// The same number in every 32-bit lane.
    unsafe fn splat(value: i32) -> Self::V;
    /// The four bytes at `from` in every 32-bit lane.
    unsafe fn splat_bytes(from: *const u8) -> Self::V;
    /// `BYTES` bytes.
    unsafe fn load(from: *const u8) -> Self::V;
    /// The first `count` bytes; the others are 0.
    unsafe fn load_first(from: *const u8, count: usize) -> Self::V;
    /// Writes the first `count` bytes.
    unsafe fn store_first(to: *mut u8, value: Self::V, count: usize);
    /// To each sum, the four products of the unsigned bytes of `a`, less [`Int8Kind::offset`], and the signed bytes of `b`
    /// in its lane. Exact.
    unsafe fn dot(sums: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// `round(sum * scale) + zero_point` within `low..=high`: each sum by its own of the `LANES` scales
    /// at `scales`; halves round to even.
    unsafe fn requantize(
        sums: Self::V,
        scales: *const f32,
        zero_point: i32,
        low: i32,
        high: i32,
    ) -> Self::V;
    /// [`AddInt8::value`] of each of the first `count` lanes, which are in `0..=255`, and the byte at `other` for it;
    /// `is_left`: the bytes are the left operands.
    unsafe fn add(
        sum: &AddInt8,
        lanes: Self::V,
        other: *const u8,
        is_left: bool,
        count: usize,
    ) -> Self::V;
    /// Writes the first `count` lanes, which are in `0..=255`, as bytes.
    unsafe fn store_lanes(to: *mut u8, value: Self::V, count: usize);
    /// Interleaves the bytes of the lower, and of the upper half of each 128-bit part.
    unsafe fn interleave_bytes(a: Self::V, b: Self::V) -> [Self::V; 2];
    /// Interleaves 16-bit pairs in the same way.
    unsafe fn interleave_pairs(a: Self::V, b: Self::V) -> [Self::V; 2];
    /// The lanes, in `0..=255`, of four vectors as bytes, in each 128-bit part one vector after the
    /// other: undoes two interleavings.
    unsafe fn pack(lanes: [Self::V; 4]) -> Self::V;

    /// Microkernel: adds to the sums of each of `M` pixels the products of its groups of four bytes and their rows of the
    /// weights, `N` vectors wide. Pixels are valid for `quads` groups, and weights for as many rows.
    #[inline(always)]
    unsafe fn accumulate<const M: usize, const N: usize>(
        sums: &mut [[Self::V; N]; M],
        pixels: &[*const u8; M],
        mut weights: *const u8,
        quads: usize,
    ) {
        // SAFETY: the contract of this function.
        unsafe {
            let mut local = *sums;
            for quad in 0..quads {
                let mut w = [Self::splat(0); N];
                unrolled!(n below N, {
                    w[n] = Self::load(weights.add(n * Self::BYTES));
                });
                unrolled!(m below M, {
                    let value = Self::splat_bytes(pixels[m].add(4 * quad));
                    unrolled!(n below N, {
                        local[m][n] = Self::dot(local[m][n], value, w[n]);
                    });
                });
                weights = weights.add(N * Self::BYTES);
            }
            *sums = local;
        }
    }
}
