//! Pooling: maximum and average over windows, channels-last.

use crate::geometry::pool::PoolGeometry;
use crate::simd::dispatch::dispatch;
use crate::simd::isa::Isa;
use crate::simd::vector::Simd;

/// What the values under a window become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their maximum.
    Max,
    /// Their sum.
    Sum,
    /// Their mean, padding not counted.
    Mean,
    /// Their sum divided by the size of the kernel: padding counts as zeros.
    MeanWithPadding,
}

/// Pools `input` into `output`.
///
/// # Panics
/// If a slice does not have the geometry's length.
pub fn pool(
    isa: Isa,
    pooling: Pooling,
    geometry: &PoolGeometry,
    input: &[f32],
    output: &mut [f32],
) {
    assert_eq!(input.len(), geometry.input_len());
    assert_eq!(output.len(), geometry.output_len());
    // SAFETY: both lengths were just checked.
    unsafe { pool_all(isa, pooling, geometry, input.as_ptr(), output.as_mut_ptr()) }
}

dispatch! {
    unsafe fn pool_all = pool_kernel(
        pooling: Pooling,
        geometry: &PoolGeometry,
        input: *const f32,
        output: *mut f32,
    )
}

/// # Safety
/// `input` and `output` must be valid for the geometry's lengths and not overlap.
#[inline(always)]
unsafe fn pool_kernel<S: Simd>(
    pooling: Pooling,
    geometry: &PoolGeometry,
    input: *const f32,
    output: *mut f32,
) {
    let (rows, columns) = (geometry.rows(), geometry.columns());
    let channels = geometry.channels();
    // Grows to the pixels under a window: a kernel may be far larger than the input.
    let mut window = Vec::new();
    for pixel in 0..rows.output() * columns.output() {
        find_window(geometry, pixel, &mut window);
        let share = share(pooling, geometry, window.len());
        let mut channel = 0;
        while channel < channels {
            let lanes = S::LANES.min(channels - channel);
            // SAFETY: the window holds pixels of the input and `pixel` is one of the output's, with
            // `channels` values each, of which `lanes` are left from `channel` on.
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
                let to = output.add(pixel * channels + channel);
                S::store_first(to, S::mul(sum, S::splat(share)), lanes);
            }
            channel += lanes;
        }
    }
}

/// Backward data of [`pool`]: the gradient of its input, from that of its output. Only a maximum
/// needs the input; of equal values under a window the first one gets the gradient, as in PyTorch.
///
/// # Panics
/// If a slice does not have the geometry's length.
pub fn pool_gradient(
    pooling: Pooling,
    geometry: &PoolGeometry,
    input: &[f32],
    gradient: &[f32],
    input_gradient: &mut [f32],
) {
    let channels = geometry.channels();
    assert_eq!(input_gradient.len(), geometry.input_len());
    assert!(pooling != Pooling::Max || input.len() == input_gradient.len());
    assert_eq!(gradient.len(), geometry.output_len());
    input_gradient.fill(0.0);
    let mut window = Vec::new();
    for (pixel, gradient) in gradient.chunks_exact(channels).enumerate() {
        find_window(geometry, pixel, &mut window);
        if pooling == Pooling::Max {
            for (channel, gradient) in gradient.iter().enumerate() {
                let first_largest = window
                    .iter()
                    .map(|pixel| pixel * channels + channel)
                    .reduce(|best, index| if input[index] > input[best] { index } else { best });
                if let Some(best) = first_largest {
                    input_gradient[best] += gradient;
                }
            }
            continue;
        }
        let share = share(pooling, geometry, window.len());
        for pixel in &window {
            let to = &mut input_gradient[pixel * channels..][..channels];
            to.iter_mut().zip(gradient).for_each(|(to, gradient)| *to += share * gradient);
        }
    }
}

/// Finds the input pixels under the window of output pixel `pixel`.
fn find_window(geometry: &PoolGeometry, pixel: usize, window: &mut Vec<usize>) {
    let (rows, columns) = (geometry.rows(), geometry.columns());
    let (row, column) = (pixel / columns.output(), pixel % columns.output());
    window.clear();
    for tap in 0..rows.kernel() * columns.kernel() {
        let row = rows.input_index(row, tap / columns.kernel());
        let column = columns.input_index(column, tap % columns.kernel());
        if let (Some(row), Some(column)) = (row, column) {
            window.push(row * columns.input() + column);
        }
    }
}

/// The factor of the sum of a window of `count` pixels.
fn share(pooling: Pooling, geometry: &PoolGeometry, count: usize) -> f32 {
    match pooling {
        Pooling::Max | Pooling::Sum => 1.0,
        Pooling::Mean => 1.0 / count.max(1) as f32,
        Pooling::MeanWithPadding => {
            1.0 / (geometry.rows().kernel() * geometry.columns().kernel()) as f32
        }
    }
}
