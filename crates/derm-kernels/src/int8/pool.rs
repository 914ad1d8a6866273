//! Pooling of 8-bit values, channels-last.

use super::dispatch::dispatch_int8;
use super::isa::Int8Kind;
use super::requantize::{Requantize, requantize};
use super::vector::Int8Simd;
use crate::geometry::pool::PoolGeometry;
use crate::simd::isa::Isa;

/// What a window of 8-bit values becomes.
#[derive(Debug, Clone, PartialEq)]
pub enum PoolingInt8 {
    /// Its maximum, of the same scale; `low` where no value is under the window.
    Max,
    /// The sum of its values less their zero point, times `scale`, requantised.
    Sum {
        /// The input's zero point.
        input_zero: u8,
        /// The input's scale divided by the output's, and by the values of a window for a mean.
        scale: f32,
        /// Whether `scale` is still to be divided by the number of values under each window.
        is_mean: bool,
        /// The output.
        requantize: Requantize,
    },
}

/// Pools `input` into `output`.
///
/// # Panics
/// If a slice does not have the geometry's length, or a window is so large that its sum may exceed
/// 32 bits.
pub fn pool_int8(
    isa: Isa,
    pooling: &PoolingInt8,
    geometry: &PoolGeometry,
    input: &[u8],
    output: &mut [u8],
) {
    assert_eq!(input.len(), geometry.input_len());
    assert_eq!(output.len(), geometry.output_len());
    assert!(geometry.input_len() / geometry.channels() <= (i32::MAX / 255) as usize);
    let mut sums = vec![0i32; geometry.channels()];
    let (from, to) = (input.as_ptr(), output.as_mut_ptr());
    // SAFETY: the lengths were just checked.
    unsafe { pool_all(Int8Kind::of(isa), pooling, geometry, from, to, &mut sums) }
}

dispatch_int8! {
    unsafe fn pool_all = pool_kernel(
        pooling: &PoolingInt8,
        geometry: &PoolGeometry,
        input: *const u8,
        output: *mut u8,
        sums: &mut [i32],
    )
}

/// # Safety
/// `input` and `output` must be valid for the geometry's lengths and not overlap; there must be as
/// many sums as channels.
#[inline(always)]
unsafe fn pool_kernel<S: Int8Simd>(
    pooling: &PoolingInt8,
    geometry: &PoolGeometry,
    input: *const u8,
    output: *mut u8,
    sums: &mut [i32],
) {
    let (rows, columns) = (geometry.rows(), geometry.columns());
    let channels = geometry.channels();
    for pixel in 0..rows.output() * columns.output() {
        let (row, column) = (pixel / columns.output(), pixel % columns.output());
        // SAFETY: pixel by pixel, both are inside the tensors.
        let to = unsafe { std::slice::from_raw_parts_mut(output.add(pixel * channels), channels) };
        to.fill(0);
        sums.fill(0);
        let mut count = 0;
        for row_tap in 0..rows.kernel() {
            let Some(row) = rows.input_index(row, row_tap) else { continue };
            for column_tap in 0..columns.kernel() {
                let Some(column) = columns.input_index(column, column_tap) else { continue };
                let start = (row * columns.input() + column) * channels;
                // SAFETY: `input_index` gives positions inside the input.
                let from = unsafe { std::slice::from_raw_parts(input.add(start), channels) };
                count += 1;
                if *pooling == PoolingInt8::Max {
                    to.iter_mut().zip(from).for_each(|(to, &from)| *to = from.max(*to));
                } else {
                    let each = sums.iter_mut().zip(from);
                    each.for_each(|(sum, &from)| *sum += i32::from(from));
                }
            }
        }
        let PoolingInt8::Sum { input_zero, scale, is_mean, requantize: to_bytes } = pooling else {
            continue;
        };
        let scale = if *is_mean { scale / count.max(1) as f32 } else { *scale };
        let zeros = count * i32::from(*input_zero);
        let Requantize { zero_point, low, high } = *to_bytes;
        for (to, &sum) in to.iter_mut().zip(&*sums) {
            let value = requantize(sum - zeros, scale, i32::from(zero_point));
            *to = value.clamp(i32::from(low), i32::from(high)) as u8;
        }
    }
}
