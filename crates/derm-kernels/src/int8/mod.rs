//! Integer arithmetic on 8-bit values: convolution and matrix product, and what stands between them.
//!
//! Activations are `u8` with one scale and zero point a tensor, `x = scale * (q - zero_point)`; signed
//! ones are held as `q + 128`. Weights are `i8` with a scale for each output channel and the zero
//! point 0. Sums are exact `i32`; every instruction set gives the same integers.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_dot;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod call;
mod dense;
mod depthwise;
mod dispatch;
pub(crate) mod elementwise;
pub(crate) mod epilogue;
mod isa;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod neon_dot;
pub(crate) mod peak;
pub(crate) mod plan;
pub(crate) mod pool;
mod portable;
pub(crate) mod requantize;
pub(crate) mod table;
mod vector;
pub(crate) mod weights;
