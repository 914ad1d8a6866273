//! The search for the quantised network whose scores are nearest to the float network's.
//!
//! One way for all tensors first (method, with and without bias correction and equalisation), then the
//! method of each tensor, then the layers that stay in float. Each trial is a run of the quantised
//! network as it would be served, on some of the calibration pictures.

use crate::histogram::Method;
use crate::insert::{Choice, insert};
use crate::network::{Network, agreeing, score_error};
use crate::observe::Statistics;
use crate::placement::Placement;
use crate::{Error, Progress, Settings};
use derm_onnx::ModelProto;
use derm_preprocess::RgbImage;
use std::collections::{BTreeMap, BTreeSet};

/// A method is another than one before only if its error is smaller by this share: the difference of
/// less is chance.
const GAIN: f64 = 0.005;
/// Ranges that differ by less than this share are the same.
const SAME: f32 = 0.01;

/// A float network, and what was observed of it.
pub(crate) struct Variant {
    pub(crate) model: ModelProto,
    pub(crate) statistics: BTreeMap<String, Statistics>,
    pub(crate) is_equalized: bool,
}

/// What was chosen.
#[derive(Clone)]
pub(crate) struct Chosen {
    /// Which of the variants.
    pub(crate) variant: usize,
    /// The method of each value that has a scale of its own.
    pub(crate) methods: BTreeMap<String, Method>,
    pub(crate) corrects_bias: bool,
    /// Layers that stay in float.
    pub(crate) in_float: BTreeSet<String>,
    /// Error of the scores on the pictures of trials.
    pub(crate) error: f64,
}

pub(crate) struct Search<'a> {
    pub(crate) manifest: &'a str,
    pub(crate) uncertain: Option<&'a str>,
    pub(crate) variants: Vec<Variant>,
    pub(crate) placement: Placement,
    /// All pictures, and the float network's scores.
    pub(crate) pictures: &'a [RgbImage],
    pub(crate) reference: Vec<Vec<f32>>,
    /// The numbers of the pictures of trials.
    pub(crate) few: Vec<usize>,
    pub(crate) half: bool,
    pub(crate) settings: &'a Settings,
    pub(crate) progress: &'a dyn Progress,
}

impl Search<'_> {
    /// The whole search.
    ///
    /// # Errors
    /// [`Error::Budget`], those of [`Network::load`].
    pub(crate) fn run(&self) -> Result<Chosen, Error> {
        let chosen = self.for_all()?;
        let chosen = self.for_each(chosen)?;
        self.within_budget(chosen)
    }

    /// The network that a choice means.
    pub(crate) fn network(&self, chosen: &Chosen) -> Result<(ModelProto, Placement), Error> {
        let variant = &self.variants[chosen.variant];
        let graph = variant.model.graph.get_or_default();
        let placement = Placement::of(graph, self.uncertain, &chosen.in_float);
        let ranges = chosen.methods.iter().filter_map(|(name, method)| {
            Some((name.clone(), variant.statistics.get(name)?.histogram.range(*method)))
        });
        let choice = Choice {
            placement: &placement,
            ranges: &ranges.collect(),
            corrected_by: chosen.corrects_bias.then_some(&variant.statistics),
            half: self.half,
        };
        Ok((insert(&variant.model, &choice)?, placement))
    }

    /// The scores of a choice on pictures of these numbers.
    fn scores(&self, chosen: &Chosen, numbers: &[usize]) -> Result<Vec<Vec<f32>>, Error> {
        let (model, _) = self.network(chosen)?;
        let network = Network::load(&model, self.manifest, &[], &self.settings.engine)?;
        let pictures: Vec<&RgbImage> =
            numbers.iter().map(|&number| &self.pictures[number]).collect();
        network.scores(&pictures)
    }

    /// A choice with its error.
    fn tried(&self, chosen: Chosen) -> Result<Chosen, Error> {
        let reference: Vec<Vec<f32>> =
            self.few.iter().map(|&number| self.reference[number].clone()).collect();
        let error = score_error(&reference, &self.scores(&chosen, &self.few)?);
        self.progress.step();
        Ok(Chosen { error, ..chosen })
    }

    /// One method for all values.
    fn for_all(&self) -> Result<Chosen, Error> {
        let trials = self.variants.len() * Method::ALL.len() * 2;
        self.progress.begin("choosing for all tensors", trials as u64);
        let mut best: Option<Chosen> = None;
        for (variant, method, corrects_bias) in (0..self.variants.len())
            .flat_map(|variant| Method::ALL.map(|method| (variant, method)))
            .flat_map(|(variant, method)| [true, false].map(|corrects| (variant, method, corrects)))
        {
            let own = self.placement.values.iter().filter(|value| value.like.is_none());
            let methods = own.map(|value| {
                // Of scores the largest matters.
                let method = if self.is_output(&value.name) { Method::MinMax } else { method };
                (value.name.clone(), method)
            });
            let chosen = Chosen {
                variant,
                methods: methods.collect(),
                corrects_bias,
                in_float: BTreeSet::new(),
                error: f64::INFINITY,
            };
            let chosen = self.tried(chosen)?;
            if best.as_ref().is_none_or(|best| chosen.error < best.error * (1.0 - GAIN)) {
                best = Some(chosen);
            }
        }
        best.ok_or(Error::NoProducts)
    }

    fn is_output(&self, name: &str) -> bool {
        let graphs = self.variants.iter().flat_map(|variant| variant.model.graph.as_ref());
        graphs.flat_map(|graph| &graph.output).any(|output| output.name == name)
    }

    /// The method of each value: others are tried where their ranges differ.
    fn for_each(&self, mut best: Chosen) -> Result<Chosen, Error> {
        let statistics = &self.variants[best.variant].statistics;
        let names: Vec<String> = best.methods.keys().cloned().collect();
        self.progress.begin("choosing for each tensor", names.len() as u64);
        for name in names.iter().filter(|name| !self.is_output(name)) {
            let Some(Statistics { histogram, .. }) = statistics.get(name) else { continue };
            let mut tried = vec![histogram.range(best.methods[name])];
            for method in Method::ALL {
                let range = histogram.range(method);
                if tried.iter().any(|other| is_same(*other, range)) {
                    continue;
                }
                tried.push(range);
                let mut other = best.clone();
                other.methods.insert(name.clone(), method);
                let other = self.tried(other)?;
                if other.error < best.error * (1.0 - GAIN) {
                    best = other;
                }
            }
        }
        Ok(best)
    }

    /// Keeps the layers in float that lose most, until few enough answers change.
    fn within_budget(&self, mut chosen: Chosen) -> Result<Chosen, Error> {
        let allowed = self.settings.max_drop;
        let mut found = self.changed(&chosen)?;
        if found <= allowed {
            return Ok(chosen);
        }
        let layers = &self.placement.layers;
        self.progress.begin("sensitivity of each layer", layers.len() as u64);
        let mut ranked = Vec::with_capacity(layers.len());
        for layer in layers {
            let in_float = BTreeSet::from([layer.name.clone()]);
            ranked.push((self.tried(Chosen { in_float, ..chosen.clone() })?.error, &layer.name));
        }
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        let products = |chosen: &Chosen| {
            let is_integer = |name: &String| !chosen.in_float.contains(name);
            layers.iter().any(|layer| layer.is_product && is_integer(&layer.name))
        };
        let at_once = layers.len().div_ceil(40);
        self.progress.begin("layers that stay in float", ranked.len().div_ceil(at_once) as u64);
        for group in ranked.chunks(at_once) {
            chosen.in_float.extend(group.iter().map(|(_, name)| (*name).clone()));
            if !products(&chosen) {
                break;
            }
            found = self.changed(&chosen)?;
            self.progress.step();
            if found <= allowed {
                return self.tried(chosen);
            }
        }
        Err(Error::Budget { found, allowed, kept: chosen.in_float.len() })
    }

    /// The share of all pictures whose most probable class is another.
    pub(crate) fn changed(&self, chosen: &Chosen) -> Result<f64, Error> {
        let all: Vec<usize> = (0..self.pictures.len()).collect();
        let agreeing = agreeing(&self.reference, &self.scores(chosen, &all)?);
        Ok((all.len() - agreeing) as f64 / all.len() as f64)
    }
}

fn is_same(a: (f32, f32), b: (f32, f32)) -> bool {
    let width = (a.1 - a.0).max(b.1 - b.0);
    (a.0 - b.0).abs().max((a.1 - b.1).abs()) <= width * SAME
}
