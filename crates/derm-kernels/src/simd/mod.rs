//! Vectors of float32: one trait, one implementation for each instruction set.
//!
//! Kernels are generic over [`vector::Simd`] and forced inline into one entry function for each
//! instruction set ([`dispatch::dispatch`]), which alone carries `target_feature`.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod dispatch;
pub(crate) mod isa;
pub(crate) mod math;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod portable;
pub(crate) mod unroll;
pub(crate) mod vector;
