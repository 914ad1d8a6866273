//! Eigen-CAM: Muhammad and Yeasin, *Eigen-CAM: Class Activation Map using Principal Components*,
//! 2020, arXiv:2008.00299.
//!
//! The projection of each position's channels on their first principal component. The sign of a
//! component is arbitrary: it is chosen such that the map correlates with the sum of the channels.

use super::maps::relu;
use ndarray::{Array1, Array2, ArrayView3};

/// Most iterations of the power method; a dominant component needs far fewer.
const ITERATIONS: usize = 1000;

pub(super) fn map(activations: ArrayView3<f32>) -> Array2<f32> {
    relu(first_component(activations))
}

/// The first singular vector over positions of the centred `[channels, positions]` matrix, times its
/// singular value, by the power method; the `[positions, positions]` matrix is never formed.
pub(super) fn first_component(activations: ArrayView3<f32>) -> Array2<f32> {
    let (channels, rows, columns) = activations.dim();
    let positions = rows * columns;
    let values = activations.as_standard_layout().mapv(f64::from);
    let centred = values.into_shape_with_order((channels, positions));
    let mut centred = centred.expect("as many values as before");
    for mut channel in centred.outer_iter_mut() {
        let mean = channel.mean().unwrap_or(0.0);
        channel.mapv_inplace(|value| value - mean);
    }
    let sums = centred.sum_axis(ndarray::Axis(0));
    // Where the sum is zero, a start vector without the map's symmetries.
    let start =
        |position: usize| sums[position] + 1e-6 * ((position * 7919 % 1009) as f64 / 1009.0 - 0.5);
    let mut direction: Array1<f64> = Array1::from_shape_fn(positions, start);
    let mut singular = 0.0;
    for _ in 0..ITERATIONS {
        let length = direction.dot(&direction).sqrt();
        if length == 0.0 {
            return Array2::zeros((rows, columns));
        }
        direction /= length;
        let next = centred.t().dot(&centred.dot(&direction));
        singular = next.dot(&direction).max(0.0).sqrt();
        let target = singular * singular;
        let off: f64 = next.iter().zip(&direction).map(|(n, d)| (n - target * d).powi(2)).sum();
        direction = next;
        if off.sqrt() <= 1e-7 * target {
            break;
        }
    }
    let length = direction.dot(&direction).sqrt().max(f64::MIN_POSITIVE);
    let sign = if direction.dot(&sums) < 0.0 { -1.0 } else { 1.0 };
    let scale = sign * singular / length;
    let map = direction.mapv(|value| (value * scale) as f32);
    map.into_shape_with_order((rows, columns)).expect("as many values as positions")
}
