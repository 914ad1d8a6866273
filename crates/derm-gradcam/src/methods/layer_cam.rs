//! LayerCAM: Jiang et al., *LayerCAM: Exploring Hierarchical Class Activation Maps for
//! Localization*, 2021, IEEE Transactions on Image Processing 30, equations 5 to 7.

use super::maps::{relu, sum_over_channels};
use ndarray::{Array2, ArrayView3};

pub(super) fn map(activations: ArrayView3<f32>, gradients: ArrayView3<f32>) -> Array2<f32> {
    relu(sum_over_channels(&(&activations * &gradients.mapv(|gradient| gradient.max(0.0)))))
}
