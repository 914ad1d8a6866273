//! Widening: stored weights as float32, a cache-sized block at a time.

use super::storage::WeightStorage;
use crate::simd::dispatch::dispatch;
use crate::simd::isa::Isa;
use crate::simd::vector::Simd;
use std::ops::Range;

/// The weights of `range` as float32: as they are stored where that is float32, else widened
/// into `scratch`.
///
/// # Panics
/// If `range` exceeds the weights, or is longer than `scratch`.
pub(super) fn widened<'a>(
    isa: Isa,
    weights: &'a WeightStorage,
    range: Range<usize>,
    scratch: &'a mut [f32],
) -> &'a [f32] {
    match weights {
        WeightStorage::F32(list) => &list[range],
        WeightStorage::F16(list) => {
            let from = &list[range];
            let to = &mut scratch[..from.len()];
            // SAFETY: both slices have this length.
            unsafe { widen(isa, from.as_ptr(), to.as_mut_ptr(), from.len()) };
            to
        }
    }
}

dispatch! {
    unsafe fn widen = widen_kernel(from: *const u16, to: *mut f32, count: usize)
}

/// # Safety
/// `from` must be valid for `count` reads and `to` for `count` writes.
#[inline(always)]
unsafe fn widen_kernel<S: Simd>(from: *const u16, to: *mut f32, count: usize) {
    let whole = count - count % S::LANES;
    // SAFETY: no index reaches `count`.
    unsafe {
        for i in (0..whole).step_by(S::LANES) {
            S::store(to.add(i), S::load_half(from.add(i)));
        }
        for i in whole..count {
            *to.add(i) = half::f16::from_bits(*from.add(i)).to_f32();
        }
    }
}
