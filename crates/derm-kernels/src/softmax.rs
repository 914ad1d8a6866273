//! Softmax: exponentials of a row, divided by their sum.

use crate::simd::dispatch::dispatch;
use crate::simd::isa::Isa;
use crate::simd::math::exp;
use crate::simd::vector::Simd;

/// Softmax of each row of `width` values, in place.
///
/// # Panics
/// If the values are not whole rows.
pub fn softmax(isa: Isa, width: usize, values: &mut [f32]) {
    assert!(values.len().is_multiple_of(width));
    // SAFETY: the rows are those of the slice.
    unsafe { softmax_all(isa, values.as_mut_ptr(), values.len() / width.max(1), width) }
}

dispatch! {
    unsafe fn softmax_all = softmax_kernel(values: *mut f32, rows: usize, width: usize)
}

/// # Safety
/// `values` must be valid for `rows` rows of `width` values.
#[inline(always)]
unsafe fn softmax_kernel<S: Simd>(values: *mut f32, rows: usize, width: usize) {
    let whole = width - width % S::LANES;
    for row in 0..rows {
        // SAFETY: every access is to the `width` values of this row.
        unsafe {
            let line = values.add(row * width);
            let mut most = S::splat(f32::NEG_INFINITY);
            for i in (0..whole).step_by(S::LANES) {
                most = S::max(most, S::load(line.add(i)));
            }
            let mut largest = S::largest(most);
            for i in whole..width {
                largest = largest.max(*line.add(i));
            }
            let mut sums = S::splat(0.0);
            for i in (0..whole).step_by(S::LANES) {
                let e = exp::<S>(S::sub(S::load(line.add(i)), S::splat(largest)));
                sums = S::add(sums, e);
                S::store(line.add(i), e);
            }
            let mut sum = S::sum(sums);
            for i in whole..width {
                let e = (*line.add(i) - largest).exp();
                sum += e;
                *line.add(i) = e;
            }
            let share = S::splat(1.0 / sum);
            let mut i = 0;
            while i < width {
                let lanes = S::LANES.min(width - i);
                S::store_first(
                    line.add(i),
                    S::mul(S::load_first(line.add(i), lanes), share),
                    lanes,
                );
                i += lanes;
            }
        }
    }
}
