//! Ablation-CAM: Desai and Ramaswamy, *Ablation-CAM: Visual Explanations for Deep Convolutional
//! Network via Gradient-free Localization*, 2020, WACV, equation 4: a channel weighs what share of
//! the logit is lost when it is zero. Only the layers behind run again.

use super::{Probe, weighed};
use crate::Error;
use ndarray::{Array2, ArrayView3};

pub(super) fn map(
    probe: &mut Probe<'_, '_>,
    activations: ArrayView3<f32>,
) -> Result<Array2<f32>, Error> {
    let (count, class) = (activations.dim().0, probe.class);
    let whole = probe.evaluation.replayed(None)?[class];
    let mut weights = Vec::with_capacity(count);
    for channel in 0..count {
        probe.report(channel, count)?;
        let without = probe.evaluation.replayed(Some(channel))?[class];
        weights.push((whole - without) / whole);
    }
    Ok(weighed(activations, &weights))
}
