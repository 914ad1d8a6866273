//! A network made ready to run on calibration pictures.

use crate::Error;
use derm_model::{
    EngineOptions, Graph, Manifest, ModelSource, Operators, PackedWeightCache, Plan, Run,
};
use derm_onnx::ModelProto;
use derm_preprocess::RgbImage;
use ndarray::ArrayViewD;
use rayon::prelude::*;
use std::sync::Arc;

/// Bytes of one run's values, at most: more values than fit are observed in several runs.
const ARENA: usize = 384 << 20;

/// A network with the values that are observed.
pub(crate) struct Network {
    plan: Plan,
    manifest: Arc<Manifest>,
    kept_from: usize,
}

impl Network {
    /// Loads a network as the server would, and keeps the values of these names.
    ///
    /// # Errors
    /// [`Error::Model`], [`Error::File`], [`Error::Temporary`].
    pub(crate) fn load(
        model: &ModelProto,
        manifest: &str,
        kept: &[&str],
        options: &EngineOptions,
    ) -> Result<Network, Error> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("model.onnx");
        derm_onnx::write(model, &path)?;
        std::fs::write(path.with_extension("toml"), manifest)?;
        let graph = Graph::load_keeping(&ModelSource::at(&path), kept)?;
        let plan = Plan::new(&graph, options, &mut PackedWeightCache::default())?;
        let manifest = Arc::clone(graph.manifest());
        Ok(Network { plan, manifest, kept_from: graph.kept_from() })
    }

    /// The names in parts, each of which one network can keep in the memory that is allowed.
    ///
    /// # Errors
    /// As [`Network::load`].
    pub(crate) fn parts<'n>(
        model: &ModelProto,
        manifest: &str,
        kept: &[&'n str],
        options: &EngineOptions,
    ) -> Result<Vec<Vec<&'n str>>, Error> {
        let network = Network::load(model, manifest, kept, options)?;
        if network.plan.arena_bytes() <= ARENA || kept.len() <= 1 {
            return Ok(vec![kept.to_vec()]);
        }
        drop(network);
        let (left, right) = kept.split_at(kept.len() / 2);
        let mut parts = Network::parts(model, manifest, left, options)?;
        parts.extend(Network::parts(model, manifest, right, options)?);
        Ok(parts)
    }

    pub(crate) fn run(&self, picture: &RgbImage) -> Result<Run<'_>, Error> {
        Ok(self.plan.run(|to| self.manifest.input.normalise(picture, to))?)
    }

    /// Value number `number` of those that are kept.
    pub(crate) fn kept<'r>(&self, run: &'r Run<'_>, number: usize) -> ArrayViewD<'r, f32> {
        run.output(self.kept_from + number)
    }

    /// The scores of each picture, in order.
    pub(crate) fn scores(&self, pictures: &[&RgbImage]) -> Result<Vec<Vec<f32>>, Error> {
        let scores = |picture: &&RgbImage| {
            let run = self.run(picture)?;
            Ok(run.output(0).iter().copied().collect())
        };
        pictures.par_iter().map(scores).collect()
    }

    /// The output that the manifest names for uncertainty.
    pub(crate) fn uncertain(&self) -> Option<&str> {
        self.manifest.uncertain.as_ref().map(|uncertain| uncertain.output.as_str())
    }

    pub(crate) fn operators(&self) -> Operators {
        self.plan.operators()
    }
}

/// Energy of the error of scores, as a share of that of the reference about its mean over classes.
pub(crate) fn score_error(reference: &[Vec<f32>], scores: &[Vec<f32>]) -> f64 {
    let (mut error, mut signal) = (0.0, 0.0);
    for (a, b) in reference.iter().zip(scores) {
        let mean = a.iter().map(|&a| f64::from(a)).sum::<f64>() / a.len() as f64;
        for (&a, &b) in a.iter().zip(b) {
            error += f64::from(a - b).powi(2);
            signal += (f64::from(a) - mean).powi(2);
        }
    }
    if error == 0.0 { 0.0 } else { error / signal.max(f64::MIN_POSITIVE) }
}

/// Number of pictures whose largest score is of the same class.
pub(crate) fn agreeing(reference: &[Vec<f32>], scores: &[Vec<f32>]) -> usize {
    reference.iter().zip(scores).filter(|(a, b)| largest(a) == largest(b)).count()
}

fn largest(scores: &[f32]) -> Option<usize> {
    let numbered = scores.iter().enumerate().rev();
    numbered.max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(index, _)| index)
}
