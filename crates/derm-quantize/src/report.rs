//! What was chosen, and what it costs.

use crate::Error;
use crate::histogram::Method;
use crate::network::{Network, agreeing, score_error};
use crate::placement::Placement;
use crate::search::{Chosen, Search};
use derm_onnx::ModelProto;
use derm_preprocess::RgbImage;
use std::collections::BTreeMap;

/// What was done to a network, and how near its answers are to the float network's.
#[derive(Debug, Clone)]
pub struct Report {
    /// The operators with an integer form, in order.
    pub layers: Vec<LayerReport>,
    /// Names of the layers that stay in float.
    pub in_float: Vec<String>,
    /// Whether weights that stay in float are float16 (as they were) or float32.
    pub half: bool,
    /// Whether layers were equalised; that and the correction are used only where they help.
    pub is_equalized: bool,
    /// Whether biases were corrected.
    pub corrects_bias: bool,
    /// Pictures compared.
    pub pictures: usize,
    /// Pictures with the same most probable class.
    pub agreeing: usize,
    /// Signal to noise of the scores, dB: about their mean over the classes.
    pub score_sqnr: f64,
    /// The engine's operations; those that it has no kernel for.
    pub operators: String,
}

/// One operator that is computed in integers.
#[derive(Debug, Clone)]
pub struct LayerReport {
    /// The value that it gives, with what is fused into it.
    pub value: String,
    /// Its operator in the file.
    pub operator: String,
    /// How the range of its result was chosen.
    pub method: Method,
    /// That range.
    pub range: (f32, f32),
    /// Signal to noise of its result against the float network, dB, with everything before it
    /// quantised too. Infinite where they are equal.
    pub sqnr: f64,
}

/// # Errors
/// Those of [`Network::load`].
pub(crate) fn report(
    search: &Search<'_>,
    chosen: &Chosen,
    model: &ModelProto,
    placement: &Placement,
) -> Result<Report, Error> {
    let variant = &search.variants[chosen.variant];
    let is_placed = |name: &str| placement.values.iter().any(|value| value.name == name);
    let layers: Vec<_> = placement.layers.iter().filter(|layer| is_placed(&layer.result)).collect();
    let names: Vec<&str> = layers.iter().map(|layer| layer.result.as_str()).collect();
    let noise = noise(search, &variant.model, model, &names)?;
    let layers = layers.into_iter().map(|layer| {
        let origin = placement.origin(&layer.result);
        let method = chosen.methods.get(origin).copied().unwrap_or(Method::MinMax);
        let histogram = variant.statistics.get(origin).map(|found| &found.histogram);
        LayerReport {
            value: layer.result.clone(),
            operator: layer.operator.clone(),
            method,
            range: histogram.map_or((0.0, 0.0), |histogram| histogram.range(method)),
            sqnr: decibels(noise.get(layer.result.as_str()).copied().unwrap_or(0.0)),
        }
    });
    let network = Network::load(model, search.manifest, &[], &search.settings.engine)?;
    let scores = network.scores(&search.pictures.iter().collect::<Vec<_>>())?;
    Ok(Report {
        layers: layers.collect(),
        in_float: chosen.in_float.iter().cloned().collect(),
        half: search.half,
        is_equalized: variant.is_equalized,
        corrects_bias: chosen.corrects_bias,
        pictures: search.pictures.len(),
        agreeing: agreeing(&search.reference, &scores),
        score_sqnr: decibels(score_error(&search.reference, &scores)),
        operators: network.operators().to_string(),
    })
}

/// For each value the energy of its error as a share of its own.
fn noise<'n>(
    search: &Search<'_>,
    float: &ModelProto,
    quantized: &ModelProto,
    names: &[&'n str],
) -> Result<BTreeMap<&'n str, f64>, Error> {
    let Search { manifest, settings, .. } = search;
    let pictures: Vec<&RgbImage> =
        search.few.iter().map(|&number| &search.pictures[number]).collect();
    let parts = Network::parts(float, manifest, names, &settings.engine)?;
    search.progress.begin("error of each layer", (parts.len() * pictures.len()) as u64);
    let mut found = BTreeMap::new();
    for part in parts {
        let [left, right] =
            [float, quantized].map(|model| Network::load(model, manifest, &part, &settings.engine));
        let (left, right) = (left?, right?);
        let mut sums = vec![(0f64, 0f64); part.len()];
        for picture in &pictures {
            let (of_left, of_right) = (left.run(picture)?, right.run(picture)?);
            for (number, (error, signal)) in sums.iter_mut().enumerate() {
                let (a, b) = (left.kept(&of_left, number), right.kept(&of_right, number));
                for (&a, &b) in a.iter().zip(&b) {
                    *error += f64::from(a - b).powi(2);
                    *signal += f64::from(a).powi(2);
                }
            }
            search.progress.step();
        }
        let share = |(error, signal): (f64, f64)| {
            if error == 0.0 { 0.0 } else { error / signal.max(f64::MIN_POSITIVE) }
        };
        found.extend(part.iter().copied().zip(sums.into_iter().map(share)));
    }
    Ok(found)
}

/// Noise to signal as signal to noise in dB.
fn decibels(share: f64) -> f64 {
    -10.0 * share.log10()
}
