//! Widening: stored weights as float32, a cache-sized block at a time.

use super::storage::{Int8Scales, WeightStorage};
use crate::simd::dispatch::dispatch;
use crate::simd::isa::Isa;
use crate::simd::vector::Simd;

/// Rows of stored weights, each a value for `width` output channels.
#[derive(Debug, Clone, Copy)]
pub(super) struct WeightRows {
    /// Index of the first weight.
    pub(super) start: usize,
    pub(super) rows: usize,
    pub(super) width: usize,
    /// The column of the first channel: where its scale is.
    pub(super) column: usize,
}

/// These weights as float32: as they are stored where that is float32, else widened into `scratch`.
///
/// # Panics
/// If the weights are not there, or more than `scratch` holds.
pub(super) fn widened<'a>(
    isa: Isa,
    weights: &'a WeightStorage,
    wanted: WeightRows,
    scratch: &'a mut [f32],
) -> &'a [f32] {
    let count = wanted.rows * wanted.width;
    let range = wanted.start..wanted.start + count;
    match weights {
        WeightStorage::F32(list) => &list[range],
        WeightStorage::F16(list) => {
            let (from, to) = (&list[range], &mut scratch[..count]);
            // SAFETY: both slices have this length.
            unsafe { widen_f16(isa, from.as_ptr(), to.as_mut_ptr(), count) };
            to
        }
        WeightStorage::Int8(int8) => {
            let (from, to) = (&int8.values[range], &mut scratch[..count]);
            let scales = int8.columns(wanted.column, wanted.width);
            let size = [wanted.rows, wanted.width];
            // SAFETY: both slices have as many values as the rows; there is a scale and a zero point
            // for each column.
            unsafe { widen_int8(isa, from.as_ptr(), scales, to.as_mut_ptr(), size) };
            to
        }
    }
}

impl Int8Scales<'_> {
    /// The scales and zero points of a vector of columns.
    ///
    /// # Safety
    /// The columns from `column` on must be there.
    #[inline(always)]
    pub(super) unsafe fn load<S: Simd>(self, column: usize) -> (S::V, S::V) {
        // SAFETY: the contract of this function.
        unsafe {
            let zero_points = S::load_int8(self.zero_points.as_ptr().add(column));
            (S::load(self.scales.as_ptr().add(column)), zero_points)
        }
    }
}

/// A vector of 8-bit weights as float32: the difference is exact, so that the product is rounded as
/// that of a scale and an integer is.
///
/// # Safety
/// `from` must be valid for a vector of reads.
#[inline(always)]
pub(super) unsafe fn load_scaled<S: Simd>(
    from: *const i8,
    (scale, zero_point): (S::V, S::V),
) -> S::V {
    // SAFETY: the contract of this function.
    unsafe { S::mul(S::sub(S::load_int8(from), zero_point), scale) }
}

dispatch! {
    unsafe fn widen_f16 = f16_kernel(from: *const u16, to: *mut f32, count: usize)
}
dispatch! {
    unsafe fn widen_int8 = int8_kernel(from: *const i8, scales: Int8Scales<'_>, to: *mut f32, size: [usize; 2])
}

/// # Safety
/// `from` must be valid for `count` reads and `to` for `count` writes.
#[inline(always)]
unsafe fn f16_kernel<S: Simd>(from: *const u16, to: *mut f32, count: usize) {
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

/// # Safety
/// `from` must be valid for `[rows, width]` reads and `to` for as many writes; `scales` must have
/// `width` columns.
#[inline(always)]
unsafe fn int8_kernel<S: Simd>(
    from: *const i8,
    scales: Int8Scales<'_>,
    to: *mut f32,
    [rows, width]: [usize; 2],
) {
    let whole = width - width % S::LANES;
    // SAFETY: no column reaches `width`, no index `rows * width`.
    unsafe {
        for column in (0..whole).step_by(S::LANES) {
            let scale = scales.load::<S>(column);
            for index in (0..rows).map(|row| row * width + column) {
                S::store(to.add(index), load_scaled::<S>(from.add(index), scale));
            }
        }
        for column in whole..width {
            let (scale, zero) = (scales.scales[column], scales.zero_points[column]);
            for index in (0..rows).map(|row| row * width + column) {
                *to.add(index) = (f32::from(*from.add(index)) - f32::from(zero)) * scale;
            }
        }
    }
}
