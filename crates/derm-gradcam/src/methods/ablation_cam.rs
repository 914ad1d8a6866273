//! Ablation-CAM: Desai and Ramaswamy, *Ablation-CAM: Visual Explanations for Deep Convolutional
//! Network via Gradient-free Localization*, 2020, WACV, equation 4: a channel's weight is the share
//! of the logit that is lost when it is zero. Only the layers after it run again.

use super::maps::weighted_sum;
use super::probe::Probe;
use crate::Error;
use ndarray::{Array2, ArrayView3};

pub(super) fn map(
    probe: &mut Probe<'_, '_>,
    activations: ArrayView3<f32>,
) -> Result<Array2<f32>, Error> {
    let (count, class) = (activations.dim().0, probe.class);
    let full = probe.evaluation.replay(None)?[class];
    let mut weights = Vec::with_capacity(count);
    for channel in 0..count {
        probe.report(channel, count)?;
        let without = probe.evaluation.replay(Some(channel))?[class];
        weights.push((full - without) / full);
    }
    Ok(weighted_sum(activations, &weights))
}
