//! Vectors of float32, one implementation for each instruction set.
//!
//! Kernels are generic over [`Simd`] and forced inline into one entry function for each
//! instruction set (see [`crate::isa::dispatch`]), which alone carries `target_feature`.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use portable::Portable;

/// A vector of [`Simd::LANES`] float32 values and what the kernels do with it.
///
/// # Safety
/// Every function needs the instruction set to be there; loads and stores need as many valid
/// elements as they touch. No alignment is asked for.
#[allow(clippy::missing_safety_doc, reason = "one contract for all, above")]
pub(crate) trait Simd: Copy {
    /// Values in a vector.
    const LANES: usize;
    /// Rows of a matrix tile whose two vectors a row fit the registers.
    const ROWS: usize;
    type V: Copy;

    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    /// The first `count` (at most `LANES`) values; zeros after them.
    unsafe fn load_first(from: *const f32, count: usize) -> Self::V;
    /// `LANES` float16 values, widened.
    unsafe fn load_half(from: *const u16) -> Self::V;
    unsafe fn store(to: *mut f32, value: Self::V);
    unsafe fn store_first(to: *mut f32, value: Self::V, count: usize);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sqrt(a: Self::V) -> Self::V;
    /// `value` where a > b, else 0.
    unsafe fn where_larger(a: Self::V, b: Self::V, value: Self::V) -> Self::V;
    /// a * b + c; rounded once where the machine can.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// To the nearest whole number.
    unsafe fn round(a: Self::V) -> Self::V;
    /// a * 2^n for whole n in -126..=127.
    unsafe fn scale(a: Self::V, n: Self::V) -> Self::V;
    /// 1 / a, off by a few units in the last place at most.
    unsafe fn recip(a: Self::V) -> Self::V;
    /// |a| with the sign of `sign`.
    unsafe fn copysign(a: Self::V, sign: Self::V) -> Self::V;
    /// The sum of all values.
    unsafe fn sum(a: Self::V) -> f32;
    /// The largest value.
    unsafe fn largest(a: Self::V) -> f32;
}
