//! Grad-CAM: Selvaraju et al., *Grad-CAM: Visual Explanations from Deep Networks via
//! Gradient-based Localization*, 2017, arXiv:1610.02391, equations 1 and 2.

use super::maps::weighted_sum;
use ndarray::{Array1, Array2, ArrayView3, Axis};

pub(super) fn map(activations: ArrayView3<f32>, gradients: ArrayView3<f32>) -> Array2<f32> {
    let (channels, rows, columns) = gradients.dim();
    let mut sums = Array1::<f32>::zeros(channels);
    gradients.lanes(Axis(0)).into_iter().for_each(|position| sums += &position);
    let weights = sums / (rows * columns) as f32;
    weighted_sum(activations, weights.as_slice().expect("contiguous"))
}
