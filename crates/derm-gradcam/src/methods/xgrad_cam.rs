//! XGrad-CAM: Fu et al., *Axiom-based Grad-CAM*, 2020, arXiv:2008.02312, equation 8.

use super::maps::weighted_sum;
use ndarray::{Array2, ArrayView3};

pub(super) fn map(activations: ArrayView3<f32>, gradients: ArrayView3<f32>) -> Array2<f32> {
    let channels = activations.outer_iter().zip(gradients.outer_iter());
    let weights: Vec<f32> = channels
        .map(|(activation, gradient)| (&gradient * &activation).sum() / (activation.sum() + 1e-7))
        .collect();
    weighted_sum(activations, &weights)
}
