//! Score-CAM: Wang et al., *Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural
//! Networks*, 2020, arXiv:1910.01279. No gradient: one prediction per channel of the layer.
//!
//! As in pytorch-grad-cam, a channel is resized to the input (corners aligned), normalised to
//! 0..=1, multiplied with the input, and weighted by the softmax over channels of the score.

use super::maps::weighted_sum;
use super::probe::Probe;
use crate::Error;
use ndarray::{Array2, ArrayView2, ArrayView3};

pub(super) fn map(
    probe: &mut Probe<'_, '_>,
    activations: ArrayView3<f32>,
) -> Result<Array2<f32>, Error> {
    let [rows, columns, channels] = probe.shape;
    let count = activations.dim().0;
    let mut scores = Vec::with_capacity(count);
    for (number, channel) in activations.outer_iter().enumerate() {
        probe.report(number, count)?;
        let mask = normalised(corners_aligned(channel, rows, columns));
        scores.push(probe.score(|input| {
            for (pixel, share) in input.chunks_exact_mut(channels).zip(&mask) {
                pixel.iter_mut().for_each(|value| *value *= share);
            }
        })?);
    }
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f32> = scores.iter().map(|score| (score - largest).exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    let weights: Vec<f32> = exponentials.into_iter().map(|value| value / sum).collect();
    Ok(weighted_sum(activations, &weights))
}

/// Bilinear resize with the corner pixels of both grids aligned.
fn corners_aligned(channel: ArrayView2<f32>, rows: usize, columns: usize) -> Array2<f32> {
    let (old_rows, old_columns) = channel.dim();
    let step = |old: usize, new: usize| (old - 1) as f32 / (new.max(2) - 1) as f32;
    let (down, across) = (step(old_rows, rows), step(old_columns, columns));
    Array2::from_shape_fn((rows, columns), |(row, column)| {
        let (y, x) = (row as f32 * down, column as f32 * across);
        let (top, left) = ((y as usize).min(old_rows - 1), (x as usize).min(old_columns - 1));
        let (bottom, right) = ((top + 1).min(old_rows - 1), (left + 1).min(old_columns - 1));
        let (v, h) = (y - top as f32, x - left as f32);
        let upper = channel[[top, left]] * (1.0 - h) + channel[[top, right]] * h;
        let lower = channel[[bottom, left]] * (1.0 - h) + channel[[bottom, right]] * h;
        upper * (1.0 - v) + lower * v
    })
}

/// Min-max normalisation.
fn normalised(mut mask: Array2<f32>) -> Array2<f32> {
    let least = mask.iter().copied().fold(f32::INFINITY, f32::min);
    let largest = mask.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    mask.mapv_inplace(|value| (value - least) / (largest - least + 1e-8));
    mask
}
