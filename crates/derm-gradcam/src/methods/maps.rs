//! Operations on maps `[channels, rows, columns]` that several methods share.

use ndarray::{Array2, Array3, ArrayView1, ArrayView3, Axis};

/// The sum over channels.
pub(super) fn sum_over_channels(maps: &Array3<f32>) -> Array2<f32> {
    maps.sum_axis(Axis(0))
}

/// The weighted sum of the activations' channels, then ReLU. Position by position, since the channels
/// of one position are adjacent in memory.
pub(super) fn weighted_sum(activations: ArrayView3<f32>, weights: &[f32]) -> Array2<f32> {
    let weights = ArrayView1::from(weights);
    relu(activations.map_axis(Axis(0), |channels| channels.dot(&weights)))
}

/// ReLU.
pub(super) fn relu(mut map: Array2<f32>) -> Array2<f32> {
    map.mapv_inplace(|value| value.max(0.0));
    map
}

/// The largest absolute gradient over each pixel's channels, clipped at the 99th percentile so that a
/// few pixels do not hide the rest.
pub(super) fn max_abs_over_channels(gradients: ArrayView3<f32>) -> Array2<f32> {
    clipped(gradients.fold_axis(Axis(0), 0.0, |largest: &f32, value| largest.max(value.abs())))
}

/// Values clipped at the 99th percentile.
pub(super) fn clipped(mut map: Array2<f32>) -> Array2<f32> {
    let mut sorted: Vec<f32> = map.iter().copied().collect();
    let index = sorted.len() * 99 / 100;
    if index < sorted.len() {
        let (_, &mut limit, _) = sorted.select_nth_unstable_by(index, f32::total_cmp);
        if limit > 0.0 {
            map.mapv_inplace(|value| value.min(limit));
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn channels_are_weighted_and_negative_sums_are_zero() {
        let activations = array![[[1.0, 2.0]], [[3.0, -4.0]]];
        assert_eq!(weighted_sum(activations.view(), &[2.0, 0.5]), array![[3.5, 2.0]]);
        assert_eq!(weighted_sum(activations.view(), &[-2.0, 0.5]), array![[0.0, 0.0]]);
        assert_eq!(sum_over_channels(&activations), array![[4.0, -2.0]]);
    }

    #[test]
    fn the_largest_hundredth_is_clipped() {
        let map = Array2::from_shape_fn((1, 200), |(_, column)| column as f32);
        let clipped = clipped(map);
        assert_eq!((clipped[[0, 100]], clipped[[0, 199]]), (100.0, 198.0));
        let gradients = array![[[1.0, -2.0]], [[-3.0, 0.5]]];
        // Of two pixels, the index of the percentile is 1: nothing is clipped.
        assert_eq!(max_abs_over_channels(gradients.view()), array![[3.0, 2.0]]);
    }
}
