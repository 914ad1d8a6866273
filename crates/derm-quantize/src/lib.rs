#![doc = include_str!("../README.md")]

mod constants;
mod equalize;
mod error;
mod graph;
mod histogram;
mod insert;
mod means;
mod network;
mod observe;
mod placement;
mod prepare;
mod product;
mod report;
mod search;

pub use error::Error;
pub use histogram::Method;
pub use report::{LayerReport, Report};

use derm_model::EngineOptions;
use derm_onnx::ModelProto;
use derm_preprocess::RgbImage;
use network::Network;
use placement::Placement;
use search::{Search, Variant};
use std::collections::BTreeSet;

/// Pictures of one trial, at most.
const FEW: usize = 32;

/// What the quantiser may do.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The largest share of calibration pictures, 0..=1, whose most probable class may be another.
    pub max_drop: f64,
    /// How networks are run.
    pub engine: EngineOptions,
}

impl Default for Settings {
    /// One picture in fifty.
    fn default() -> Settings {
        Settings { max_drop: 0.02, engine: EngineOptions::default() }
    }
}

/// Is told how far the work is.
pub trait Progress: Sync {
    /// A part of the work begins, of so many steps.
    fn begin(&self, what: &str, steps: u64);
    /// A step is done.
    fn step(&self);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: u64) {}
    fn step(&self) {}
}

/// A quantised network.
#[derive(Debug, Clone)]
pub struct Quantized {
    /// The file.
    pub model: ModelProto,
    /// What was done and measured.
    pub report: Report,
}

/// Quantises a network to 8 bits.
///
/// `manifest` is the text of its manifest, `pictures` are what the network sees: prepared as the
/// manifest says. The same arguments give the same file.
///
/// # Errors
/// Every [`Error`].
pub fn quantize(
    model: ModelProto,
    manifest: &str,
    pictures: &[RgbImage],
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<Quantized, Error> {
    if pictures.is_empty() {
        return Err(Error::NoPictures);
    }
    let half = prepare::has_half_weights(&model);
    let mut prepared = model.clone();
    prepare::prepare(&mut prepared)?;
    let float = Network::load(&model, manifest, &[], &settings.engine)?;
    let uncertain = float.uncertain().map(str::to_owned);
    let graph = prepared.graph.get_or_default();
    let placement = Placement::of(graph, uncertain.as_deref(), &BTreeSet::new());
    if !placement.layers.iter().any(|layer| layer.is_product) {
        return Err(Error::NoProducts);
    }
    progress.begin("scores in float", 1);
    let reference = float.scores(&pictures.iter().collect::<Vec<_>>())?;
    drop(float);
    progress.step();
    let variants = variants(prepared, manifest, &placement, pictures, settings, progress)?;
    let count = FEW.min(pictures.len());
    let few = (0..count).map(|number| number * pictures.len() / count).collect();
    let search = Search {
        manifest,
        uncertain: uncertain.as_deref(),
        variants,
        placement,
        pictures,
        reference,
        few,
        half,
        settings,
        progress,
    };
    let chosen = search.run()?;
    let (model, placement) = search.network(&chosen)?;
    let report = report::report(&search, &chosen, &model, &placement)?;
    Ok(Quantized { model, report })
}

/// The network as it is, and equalised where it has layers that can be.
fn variants(
    model: ModelProto,
    manifest: &str,
    placement: &Placement,
    pictures: &[RgbImage],
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<Vec<Variant>, Error> {
    let mut equalized = model.clone();
    let pairs = equalize::equalize(equalized.graph.mut_or_insert_default())?;
    let mut models = vec![(model, false)];
    if pairs > 0 {
        models.push((equalized, true));
    }
    let variant = |(model, is_equalized)| {
        let options = &settings.engine;
        let statistics =
            observe::observe(&model, manifest, placement, pictures, options, progress)?;
        Ok(Variant { model, statistics, is_equalized })
    };
    models.into_iter().map(variant).collect()
}
