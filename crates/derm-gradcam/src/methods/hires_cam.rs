//! HiResCAM: Draelos and Carin, *Use HiResCAM instead of Grad-CAM for faithful explanations of
//! convolutional neural networks*, 2020, arXiv:2011.08891, equation 5.

use super::maps::{relu, sum_over_channels};
use ndarray::{Array2, ArrayView3};

pub(super) fn map(activations: ArrayView3<f32>, gradients: ArrayView3<f32>) -> Array2<f32> {
    relu(sum_over_channels(&(&activations * &gradients)))
}
