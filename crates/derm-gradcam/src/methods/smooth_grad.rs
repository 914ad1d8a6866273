//! SmoothGrad: Smilkov et al., *SmoothGrad: removing noise by adding noise*, 2017,
//! arXiv:1706.03825: the mean gradient over inputs with Gaussian noise.

use super::maps::max_abs_over_channels;
use super::probe::Probe;
use crate::Error;
use ndarray::{Array2, Array3};

/// Number of noisy copies.
const COPIES: usize = 16;
/// Standard deviation of the noise, as a share of the input's range; the paper finds 10-20 % best.
const NOISE: f32 = 0.15;

pub(super) fn map(probe: &mut Probe<'_, '_>) -> Result<Array2<f32>, Error> {
    let range = {
        let (least, largest) = probe
            .input
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(least, largest), &value| {
                (least.min(value), largest.max(value))
            });
        largest - least
    };
    // A fixed seed: equal requests get equal answers.
    let mut random = fastrand::Rng::with_seed(0);
    let [rows, columns, channels] = probe.shape;
    let mut sum = Array3::<f32>::zeros((channels, rows, columns));
    for copy in 0..COPIES {
        probe.report(copy, COPIES)?;
        sum += &probe.gradient(|input| {
            input.iter_mut().for_each(|value| *value += NOISE * range * normal(&mut random));
        })?;
    }
    Ok(max_abs_over_channels(sum.view()))
}

/// A sample of the standard normal distribution (Box and Muller 1958).
fn normal(random: &mut fastrand::Rng) -> f32 {
    let (radius, angle) = (1.0 - random.f32(), std::f32::consts::TAU * random.f32());
    (-2.0 * radius.ln()).sqrt() * angle.cos()
}
