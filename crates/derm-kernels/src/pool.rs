//! Maximum and average over windows, channels-last.

use crate::Axis;
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
        window_of(shape, place, &mut window);
        let share = share(pooling, shape, window.len());
        let mut channel = 0;
        while channel < channels {
            let lanes = S::LANES.min(channels - channel);
            // SAFETY: every pixel has `channels` values.
            unsafe {
                let mut sum =
                    S::splat(if pooling == Pooling::Max { f32::NEG_INFINITY } else { 0.0 });
                for pixel in &window {
                    let value = S::load_first(input.add(pixel * channels + channel), lanes);
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

/// The gradient of [`pool`]'s input, into `to`, from its output's. Only a maximum needs the input;
/// of equal values under a window the first one gets the gradient, as in PyTorch.
///
/// # Panics
/// If a slice has not the shape's length.
pub fn pool_gradient(
    pooling: Pooling,
    shape: &PoolShape,
    input: &[f32],
    gradient: &[f32],
    to: &mut [f32],
) {
    let PoolShape { rows, columns, channels } = *shape;
    assert_eq!(to.len(), rows.input * columns.input * channels);
    assert!(pooling != Pooling::Max || input.len() == to.len());
    assert_eq!(gradient.len(), rows.output * columns.output * channels);
    to.fill(0.0);
    let mut window = Vec::new();
    for (place, gradient) in gradient.chunks_exact(channels).enumerate() {
        window_of(shape, place, &mut window);
        if pooling == Pooling::Max {
            for (channel, gradient) in gradient.iter().enumerate() {
                let first_largest = window
                    .iter()
                    .map(|pixel| pixel * channels + channel)
                    .reduce(|best, place| if input[place] > input[best] { place } else { best });
                if let Some(best) = first_largest {
                    to[best] += gradient;
                }
            }
            continue;
        }
        let share = share(pooling, shape, window.len());
        for pixel in &window {
            let to = &mut to[pixel * channels..][..channels];
            to.iter_mut().zip(gradient).for_each(|(to, gradient)| *to += share * gradient);
        }
    }
}

/// The input pixels under the window of output pixel `place`.
fn window_of(shape: &PoolShape, place: usize, window: &mut Vec<usize>) {
    let PoolShape { rows, columns, .. } = *shape;
    let (row, column) = (place / columns.output, place % columns.output);
    window.clear();
    for tap in 0..rows.kernel * columns.kernel {
        let found = rows.place(row, tap / columns.kernel);
        if let (Some(row), Some(column)) = (found, columns.place(column, tap % columns.kernel)) {
            window.push(row * columns.input + column);
        }
    }
}

/// What the sum of a window of `count` places is multiplied by.
fn share(pooling: Pooling, shape: &PoolShape, count: usize) -> f32 {
    match pooling {
        Pooling::Max | Pooling::Sum => 1.0,
        Pooling::Mean => 1.0 / count.max(1) as f32,
        Pooling::MeanWithPadding => 1.0 / (shape.rows.kernel * shape.columns.kernel) as f32,
    }
}
