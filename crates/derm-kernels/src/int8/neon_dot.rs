//! Dot products of four bytes in NEON: three ways, of three generations of machines.
//!
//! The compiler has no stable intrinsics for the instructions of two of them, hence `asm!`. Each is one instruction that
//! reads and writes the registers that are its operands, and nothing else; it exists where the feature does, which is what
//! `dispatch_int8` enables and `Int8Kind` says was detected.

use std::arch::aarch64::*;
use std::arch::asm;

/// Dot product: how the products of a vector are summed.
///
/// # Safety
/// Every function needs the instruction set.
pub(crate) trait Dot: Copy {
    /// Offset: what is subtracted from activations beforehand, 128 where there is no product of unsigned and signed bytes.
    const OFFSET: i32;

    /// Adds to each sum four products of activations, less the offset, and weights.
    unsafe fn dot(sums: int32x4_t, activations: uint8x16_t, weights: int8x16_t) -> int32x4_t;

    /// As [`Dot::dot`], with the four activations of a lane in each.
    #[inline(always)]
    unsafe fn dot_lane<const LANE: i32>(
        sums: int32x4_t,
        activations: uint8x16_t,
        weights: int8x16_t,
    ) -> int32x4_t {
        // SAFETY: the contract of the trait.
        unsafe {
            let lane = vdupq_laneq_u32::<LANE>(vreinterpretq_u32_u8(activations));
            Self::dot(sums, vreinterpretq_u8_u32(lane), weights)
        }
    }
}

/// Implements [`Dot`] by an instruction on whole vectors, whose first factors are activations, and one by lane, whose first
/// factors are weights.
macro_rules! dot_by_instruction {
    ($name:ident, offset $offset:literal, $whole:literal, by lane $lane:literal) => {
        impl Dot for $name {
            const OFFSET: i32 = $offset;

            #[inline(always)]
            unsafe fn dot(
                mut sums: int32x4_t,
                activations: uint8x16_t,
                weights: int8x16_t,
            ) -> int32x4_t {
                // SAFETY: the contract of the trait; see the file's head.
                unsafe {
                    asm!(concat!($whole, " {0:v}.4s, {1:v}.16b, {2:v}.16b"), inout(vreg) sums,
                        in(vreg) activations, in(vreg) weights,
                        options(pure, nomem, nostack, preserves_flags));
                }
                sums
            }
            #[inline(always)]
            unsafe fn dot_lane<const LANE: i32>(
                mut sums: int32x4_t,
                activations: uint8x16_t,
                weights: int8x16_t,
            ) -> int32x4_t {
                // SAFETY: the contract of the trait; see the file's head.
                unsafe {
                    asm!(concat!($lane, " {0:v}.4s, {1:v}.16b, {2:v}.4b[{lane}]"), inout(vreg) sums,
                        in(vreg) weights, in(vreg) activations, lane = const LANE,
                        options(pure, nomem, nostack, preserves_flags));
                }
                sums
            }
        }
    };
}

/// The extension i8mm, of Armv8.6 (Neoverse V1 and N2, Cortex-A710, Apple M2).
#[derive(Clone, Copy)]
pub(crate) struct I8mm;

dot_by_instruction!(I8mm, offset 0, "usdot", by lane "sudot");

/// The extension dotprod, of Armv8.2 (Neoverse N1, Cortex-A76, Apple M1).
#[derive(Clone, Copy)]
pub(crate) struct DotProd;

dot_by_instruction!(DotProd, offset 128, "sdot", by lane "sdot");

/// What every machine has: products of 16 bits, added in pairs to sums of 32. Two such products do not fit 16 bits if a
/// weight is -128.
#[derive(Clone, Copy)]
pub(crate) struct Widening;

#[allow(unsafe_op_in_unsafe_fn, reason = "the body is a few intrinsics")]
impl Dot for Widening {
    const OFFSET: i32 = 128;

    #[inline(always)]
    unsafe fn dot(sums: int32x4_t, activations: uint8x16_t, weights: int8x16_t) -> int32x4_t {
        // The first two bytes of each lane, and the other two.
        let halves = |lanes| {
            [vmovn_s32(lanes), vshrn_n_s32::<16>(lanes)].map(|half| vreinterpret_s8_s16(half))
        };
        let [a, c] = halves(vreinterpretq_s32_u8(activations));
        let [b, d] = halves(vreinterpretq_s32_s8(weights));
        vpadalq_s16(vpadalq_s16(sums, vmull_s8(a, b)), vmull_s8(c, d))
    }
}
