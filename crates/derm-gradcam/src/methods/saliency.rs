//! The gradient itself: Simonyan, Vedaldi and Zisserman, *Deep Inside Convolutional Networks:
//! Visualising Image Classification Models and Saliency Maps*, 2014, arXiv:1312.6034, section 3.

use super::{Probe, strongest};
use crate::Error;
use ndarray::Array2;

pub(super) fn map(probe: &mut Probe<'_>) -> Result<Array2<f32>, Error> {
    Ok(strongest(&probe.gradient(|_| {})?))
}
