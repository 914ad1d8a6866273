//! Fake quantisation: rounds values to 8 bits, over the range that they have, and keeps them as float32.

use crate::simd::dispatch::dispatch;
use crate::simd::isa::Isa;
use crate::simd::vector::Simd;

/// Fake quantisation: what `DynamicQuantizeLinear` and `DequantizeLinear` make of the values one after the other, in place.
///
/// The scale is a 255th of the range of the values and 0; 1 if that is empty. The zero point is rounded, to 0..=255.
pub fn fake_quantize(isa: Isa, values: &mut [f32]) {
    // SAFETY: the values are those of the slice.
    unsafe { fake_quantize_all(isa, values.as_mut_ptr(), values.len()) }
}

dispatch! {
    unsafe fn fake_quantize_all = fake_quantize_kernel(values: *mut f32, count: usize)
}

/// # Safety
/// `values` must be valid for `count` values.
#[inline(always)]
unsafe fn fake_quantize_kernel<S: Simd>(values: *mut f32, count: usize) {
    let whole = count - count % S::LANES;
    // SAFETY: every access is to the `count` values.
    unsafe {
        let (mut most, mut least) = (S::splat(0.0), S::splat(0.0));
        for i in (0..whole).step_by(S::LANES) {
            let value = S::load(values.add(i));
            most = S::max(value, most);
            least = S::min(value, least);
        }
        let mut largest = S::largest(most);
        let mut smallest = -S::largest(S::sub(S::splat(0.0), least));
        for i in whole..count {
            largest = largest.max(*values.add(i));
            smallest = smallest.min(*values.add(i));
        }
        let range = largest - smallest;
        let scale = if range > 0.0 { range / 255.0 } else { 1.0 };
        let zero = (-smallest / scale).clamp(0.0, 255.0).round_ties_even();
        let (scale, low, high) = (S::splat(scale), S::splat(-zero), S::splat(255.0 - zero));
        let mut i = 0;
        while i < count {
            let lanes = S::LANES.min(count - i);
            let value = S::div(S::load_first(values.add(i), lanes), scale);
            // About the zero point, so that 0 stays 0.
            let value = S::min(S::max(S::round(value), low), high);
            S::store_first(values.add(i), S::mul(value, scale), lanes);
            i += lanes;
        }
    }
}
