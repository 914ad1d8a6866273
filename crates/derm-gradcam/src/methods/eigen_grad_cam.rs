//! Eigen-Grad-CAM: the first principal component of activation times gradient, as
//! pytorch-grad-cam has it (Gildenblat and contributors, 2021): class-specific Eigen-CAM.

use super::eigen_cam::first_component;
use super::maps::relu;
use ndarray::{Array2, ArrayView3};

pub(super) fn map(activations: ArrayView3<f32>, gradients: ArrayView3<f32>) -> Array2<f32> {
    relu(first_component((&activations * &gradients).view()))
}
