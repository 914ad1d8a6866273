//! Agreement: a model's probabilities compared with those of the code that trained it, and, where
//! they differ, the preprocessing that would make them agree.

mod reference;
mod search;
mod verdict;

use crate::{Error, Limits, Manifest, ModelSource, Options};
use derm_model::{EngineOptions, Graph, PackedWeightCache, Plan, ThreadPool};
use derm_preprocess::{Picture, Spec};
pub use reference::{Reference, ReferenceError, ReferencePicture};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
pub use verdict::Verdict;

/// Probabilities that differ by less agree: decoders of JPEG, and arithmetic, differ so much.
pub const TOLERANCE: f32 = 0.01;

/// How well probabilities agree.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Agreement {
    /// Pictures compared.
    pub pictures: usize,
    /// Those with the same most probable class.
    pub same_class: usize,
    /// Mean over pictures of the largest difference of a probability.
    pub mean_difference: f32,
    /// The largest difference of a probability.
    pub largest_difference: f32,
}

impl Agreement {
    /// Whether every probability is within [`TOLERANCE`].
    pub fn is_within_tolerance(&self) -> bool {
        self.largest_difference <= TOLERANCE
    }
}

/// The preprocessing that fits best, and what it changes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BetterFit {
    /// The whole `[input]` table.
    pub input: Spec,
    /// Lines of the manifest that change.
    pub changes: Vec<String>,
    /// Agreement with it, on the pictures that the search looked at.
    pub agreement: Agreement,
}

/// A model and the pictures that it is compared on.
pub struct Comparison {
    plan: Plan,
    manifest: Arc<Manifest>,
    limits: Limits,
    reference: Reference,
}

impl std::fmt::Debug for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Comparison").field("reference", &self.reference).finish_non_exhaustive()
    }
}

impl Comparison {
    /// Loads the model.
    ///
    /// # Errors
    /// [`Error::Model`].
    pub fn new(
        source: &ModelSource,
        options: &Options,
        reference: Reference,
    ) -> Result<Comparison, Error> {
        let graph = Graph::load(source)?;
        let engine = EngineOptions {
            precision: options.weights,
            threads: ThreadPool::new(options.intra_op_threads.get()),
            ..EngineOptions::default()
        };
        let plan = Plan::new(&graph, &engine, &mut PackedWeightCache::default())?;
        let manifest = Arc::clone(graph.manifest());
        Ok(Comparison { plan, manifest, limits: options.limits, reference })
    }

    /// Compares all pictures, preprocessed as the manifest says.
    ///
    /// # Errors
    /// [`Error::Picture`], [`Error::Model`]; [`Error::Parameter`] names a picture that cannot be read.
    pub fn agreement(&self) -> Result<Agreement, Error> {
        self.with(&self.manifest.input, &self.reference.pictures)
    }

    /// Compares these pictures, preprocessed otherwise.
    fn with(&self, spec: &Spec, pictures: &[ReferencePicture]) -> Result<Agreement, Error> {
        let (mut same_class, mut sum, mut largest) = (0, 0.0, 0.0f32);
        for picture in pictures {
            let found = self.probabilities(&picture.path, spec)?;
            let pairs = found.iter().zip(&picture.probabilities);
            let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // NaN agrees with nothing.
            let difference = if found.iter().any(|p| p.is_nan()) { 1.0 } else { difference };
            same_class +=
                usize::from(most_probable(&found) == most_probable(&picture.probabilities));
            sum += difference;
            largest = largest.max(difference);
        }
        let mean_difference = sum / pictures.len().max(1) as f32;
        Ok(Agreement {
            pictures: pictures.len(),
            same_class,
            mean_difference,
            largest_difference: largest,
        })
    }

    fn probabilities(&self, path: &Path, spec: &Spec) -> Result<Vec<f32>, Error> {
        let named = |reason: String| Error::Parameter {
            name: "picture",
            reason: format!("{}: {reason}", path.display()),
        };
        let bytes = std::fs::read(path).map_err(|error| named(error.to_string()))?;
        let picture =
            Picture::open(bytes, &self.limits).map_err(|error| named(error.to_string()))?;
        let prepared = picture.prepare(spec).map_err(|error| named(error.to_string()))?;
        let run = self.plan.run(|to| spec.normalise(&prepared.view, to))?;
        let scores: Vec<f32> = run.output(0).iter().copied().collect();
        Ok(self.manifest.probabilities(&scores))
    }
}

/// Index of the largest probability; of the sign of one.
fn most_probable(probabilities: &[f32]) -> usize {
    if let [probability] = probabilities {
        return usize::from(*probability >= 0.5);
    }
    let indexed = probabilities.iter().enumerate();
    indexed.max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(index, _)| index)
}
