//! Weights to float32, a cache-sized stretch at a time.

use crate::Weights;
use crate::isa::{Isa, dispatch};
use crate::simd::Simd;
use std::ops::Range;

/// The weights of `range` as float32: in place where they are, else in `scratch`.
///
/// # Panics
/// If `range` is not inside the weights, or longer than `scratch`.
pub(crate) fn widened<'a>(
    isa: Isa,
    weights: &'a Weights,
    range: Range<usize>,
    scratch: &'a mut [f32],
) -> &'a [f32] {
    match weights {
        Weights::F32(list) => &list[range],
        Weights::F16(list) => {
            let from = &list[range];
            let to = &mut scratch[..from.len()];
            // SAFETY: both are of the same length.
            unsafe { widen(isa, from.as_ptr(), to.as_mut_ptr(), from.len()) };
            to
        }
    }
}

dispatch! {
    unsafe fn widen = widen_with(from: *const u16, to: *mut f32, count: usize)
}

#[inline(always)]
unsafe fn widen_with<S: Simd>(from: *const u16, to: *mut f32, count: usize) {
    let whole = count - count % S::LANES;
    // SAFETY: the caller has `count` elements on both sides.
    unsafe {
        for i in (0..whole).step_by(S::LANES) {
            S::store(to.add(i), S::load_half(from.add(i)));
        }
        for i in whole..count {
            *to.add(i) = half::f16::from_bits(*from.add(i)).to_f32();
        }
    }
}
