//! Calibration: the manifest's temperature and thresholds from a validation set.

use super::Seen;
use super::metrics::Scored;
use anyhow::{Context, ensure};
use derm::{Manifest, Output};
use std::io::{self, Write as _};

/// Share of the labelled pictures that must not be called uncertain.
const PASSING: f64 = 0.95;

/// Prints `temperature`, `uncertain.threshold` where the model has one, and the threshold of each
/// requested class (`CLASS=SENSITIVITY`) at which it reaches this sensitivity.
pub(super) fn print(
    manifest: &Manifest,
    seen: &[Seen],
    requested: &[String],
) -> anyhow::Result<()> {
    let mut scored: Vec<Scored> = seen.iter().map(|one| one.scored.clone()).collect();
    writeln!(io::stdout(), "\nfor the manifest, from these {} pictures:", scored.len())?;
    if manifest.output == Output::Logits {
        let factor = best_factor(&scored);
        writeln!(io::stdout(), "temperature = {:.3}", f64::from(manifest.temperature) / factor)?;
        scored.iter_mut().for_each(|one| sharpen(&mut one.probabilities, factor));
    }
    let scores: Vec<f32> =
        seen.iter().filter_map(|one| one.uncertainty).map(|known| known.score).collect();
    if !scores.is_empty() {
        writeln!(io::stdout(), "uncertain.threshold = {:.4}", quantile(scores, PASSING))?;
    }
    for request in requested {
        let (class, share) = request.split_once('=').context("give CLASS=SENSITIVITY")?;
        let share: f64 = share.parse().context("give a sensitivity from 0 to 1")?;
        let index = manifest.class_index(class).with_context(|| format!("no class {class:?}"))?;
        let of_class = scored.iter().filter(|one| one.truth == index);
        let reached: Vec<f32> = of_class.map(|one| one.probabilities[index]).collect();
        ensure!(!reached.is_empty(), "no picture is of class {class:?}");
        // Rounded down: the last one that counts must reach it.
        let threshold = (quantile(reached, 1.0 - share) * 1e4).floor() / 1e4;
        writeln!(io::stdout(), "{class}: threshold = {threshold:.4}")?;
    }
    Ok(())
}

/// Multiplies the logits of probabilities by a factor (temperature scaling).
fn sharpen(probabilities: &mut [f32], factor: f64) {
    let powers: Vec<f64> = probabilities.iter().map(|&p| f64::from(p).powf(factor)).collect();
    let sum: f64 = powers.iter().sum();
    probabilities.iter_mut().zip(powers).for_each(|(p, power)| *p = (power / sum) as f32);
}

/// The factor of the logits with the least mean negative log-likelihood (Guo et al. 2017,
/// arXiv:1706.04599).
fn best_factor(scored: &[Scored]) -> f64 {
    let loss = |factor: f64| -> f64 {
        let one = |one: &Scored| {
            let mut probabilities = one.probabilities.clone();
            sharpen(&mut probabilities, factor);
            -f64::from(probabilities[one.truth].max(1e-12)).ln()
        };
        scored.iter().map(one).sum()
    };
    let candidates = (0..=300).map(|step| 10f64.powf(f64::from(step) / 150.0 - 1.0));
    let with_loss = candidates.map(|factor| (factor, loss(factor)));
    with_loss.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(1.0, |(factor, _)| factor)
}

/// The quantile of a list.
fn quantile(mut values: Vec<f32>, share: f64) -> f64 {
    values.sort_by(f32::total_cmp);
    // 20 * (1 - 0.9) is a little less than 2.
    let index = (values.len() as f64 * share + 1e-6).floor() as usize;
    f64::from(values[index.min(values.len() - 1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overconfident_model_gets_a_higher_temperature() {
        // Accuracy 0.75 at confidence 0.99.
        let mut scored = vec![Scored { truth: 0, probabilities: vec![0.99, 0.01], decision: 0 }; 3];
        scored.push(Scored { truth: 1, probabilities: vec![0.99, 0.01], decision: 0 });
        let factor = best_factor(&scored);
        let mut probabilities = vec![0.99, 0.01];
        sharpen(&mut probabilities, factor);
        assert!((probabilities[0] - 0.75).abs() < 0.01, "{probabilities:?}");
    }

    #[test]
    fn the_threshold_for_a_sensitivity_reaches_it() {
        let values: Vec<f32> = (0..20).map(|i| i as f32).collect();
        let threshold = quantile(values.clone(), 1.0 - 0.9);
        assert_eq!(values.iter().filter(|&&value| f64::from(value) >= threshold).count(), 18);
    }
}
