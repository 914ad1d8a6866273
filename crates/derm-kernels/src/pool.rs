//! Maximum and average over windows, channels-last.

use crate::conv::Axis;
use crate::isa::{Isa, dispatch};
use crate::simd::Simd;

/// What a window becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Its largest value.
    Max,
    /// Its sum.
    Sum,
    /// Its mean over the places that are no padding.
    Mean,
    /// Its sum over the number of the kernel's places, padding counted as zeros.
    MeanWithPadding,
}

/// What a pooling reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolShape {
    /// Rows.
    pub rows: Axis,
    /// Columns.
    pub columns: Axis,
    /// Channels.
    pub channels: usize,
}

/// Pools `input`, `[rows, columns, channels]`, into `output`.
///
/// # Panics
/// If a slice has not the shape's length.
pub fn pool(isa: Isa, pooling: Pooling, shape: &PoolShape, input: &[f32], output: &mut [f32]) {
    let PoolShape { rows, columns, channels } = *shape;
    assert_eq!(input.len(), rows.input * columns.input * channels);
    assert_eq!(output.len(), rows.output * columns.output * channels);
    // SAFETY: lengths were just checked.
    unsafe { pool_all(isa, pooling, shape, input.as_ptr(), output.as_mut_ptr()) }
}

dispatch! {
    unsafe fn pool_all = pool_with(
        pooling: Pooling,
        shape: &PoolShape,
        input: *const f32,
        output: *mut f32,
    )
}

#[inline(always)]
unsafe fn pool_with<S: Simd>(
    pooling: Pooling,
    shape: &PoolShape,
    input: *const f32,
    output: *mut f32,
) {
    let PoolShape { rows, columns, channels } = *shape;
    let mut window = Vec::with_capacity(rows.kernel * columns.kernel);
    for place in 0..rows.output * columns.output {
        let (row, column) = (place / columns.output, place % columns.output);
        window.clear();
        for tap in 0..rows.kernel * columns.kernel {
            let found = rows.place(row, tap / columns.kernel);
            if let (Some(row), Some(column)) = (found, columns.place(column, tap % columns.kernel))
            {
                // SAFETY: `place` gives places inside the input.
                window.push(unsafe { input.add((row * columns.input + column) * channels) });
            }
        }
        let share = match pooling {
            Pooling::Max | Pooling::Sum => 1.0,
            Pooling::Mean => 1.0 / window.len().max(1) as f32,
            Pooling::MeanWithPadding => 1.0 / (rows.kernel * columns.kernel) as f32,
        };
        let mut channel = 0;
        while channel < channels {
            let lanes = S::LANES.min(channels - channel);
            // SAFETY: every pixel has `channels` values.
            unsafe {
                let mut sum =
                    S::splat(if pooling == Pooling::Max { f32::NEG_INFINITY } else { 0.0 });
                for pixel in &window {
                    let value = S::load_first(pixel.add(channel), lanes);
                    sum = if pooling == Pooling::Max {
                        S::max(sum, value)
                    } else {
                        S::add(sum, value)
                    };
                }
                let to = output.add(place * channels + channel);
                S::store_first(to, S::mul(sum, S::splat(share)), lanes);
            }
            channel += lanes;
        }
    }
}
