//! Grad-CAM: Selvaraju et al., *Grad-CAM: Visual Explanations from Deep Networks via
//! Gradient-based Localization*, 2017, arXiv:1610.02391, equations 1 and 2.

use super::weighed;
use ndarray::{Array2, ArrayView3};

pub(super) fn map(activations: ArrayView3<f32>, gradients: ArrayView3<f32>) -> Array2<f32> {
    let weights: Vec<f32> =
        gradients.outer_iter().map(|channel| channel.mean().unwrap_or(0.0)).collect();
    weighed(activations, &weights)
}
