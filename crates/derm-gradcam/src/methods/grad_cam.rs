//! Grad-CAM: Selvaraju et al., *Grad-CAM: Visual Explanations from Deep Networks via
//! Gradient-based Localization*, 2017, arXiv:1610.02391, equations 1 and 2.

use super::weighed;
use ndarray::{Array1, Array2, ArrayView3, Axis};

pub(super) fn map(activations: ArrayView3<f32>, gradients: ArrayView3<f32>) -> Array2<f32> {
    let (channels, rows, columns) = gradients.dim();
    let mut sums = Array1::<f32>::zeros(channels);
    gradients.lanes(Axis(0)).into_iter().for_each(|place| sums += &place);
    let weights = sums / (rows * columns) as f32;
    weighed(activations, weights.as_slice().expect("one after the other"))
}
