//! Saliency, the gradient itself: Simonyan, Vedaldi and Zisserman, *Deep Inside Convolutional Networks:
//! Visualising Image Classification Models and Saliency Maps*, 2014, arXiv:1312.6034, section 3.

use super::maps::max_abs_over_channels;
use ndarray::{Array2, ArrayView3};

pub(super) fn map(gradients: ArrayView3<f32>) -> Array2<f32> {
    max_abs_over_channels(gradients)
}
