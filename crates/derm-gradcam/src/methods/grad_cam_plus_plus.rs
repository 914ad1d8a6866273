//! Grad-CAM++: Chattopadhay et al., *Grad-CAM++: Improved Visual Explanations for Deep
//! Convolutional Networks*, 2018, arXiv:1710.11063, equation 19, for the exponential of the logit,
//! whose second and third derivatives are powers of the gradient.

use super::maps::weighted_sum;
use ndarray::{Array2, ArrayView3};

pub(super) fn map(activations: ArrayView3<f32>, gradients: ArrayView3<f32>) -> Array2<f32> {
    let channels = activations.outer_iter().zip(gradients.outer_iter());
    let weight = |(activation, gradient): (ndarray::ArrayView2<f32>, ndarray::ArrayView2<f32>)| {
        let sum = activation.sum();
        let at = |g: f32| {
            let alpha = g * g / (2.0 * g * g + sum * g * g * g + 1e-6);
            if g == 0.0 { 0.0 } else { g.max(0.0) * alpha }
        };
        gradient.iter().map(|&g| at(g)).sum()
    };
    let weights: Vec<f32> = channels.map(weight).collect();
    weighted_sum(activations, &weights)
}
