//! A loaded model: the plans that predict and explain.

use crate::request::short;
use crate::{Error, Explain};
use derm_gradcam::{
    Error as ExplainError, ExplainRequest, Explainer, ExplainerRef, Explainers, Layer, LayerInfo,
};
use derm_model::{Digest, EngineOptions, Graph, GraphInput, ModelSource, OpenModel};
use std::sync::Arc;

/// A loaded model; dropping it returns its memory to the system.
#[derive(Debug)]
pub(crate) struct Loaded {
    explainers: Explainers,
    notes: Vec<String>,
    input: GraphInput,
    digest: Digest,
    // Fields are dropped in order: this one after the model.
    _release: ReleaseOnDrop,
}

#[derive(Debug)]
struct ReleaseOnDrop;

impl Drop for ReleaseOnDrop {
    fn drop(&mut self) {
        release_unused();
    }
}

/// Returns memory that nobody uses to the system: the heap's free pages, and code that has done its
/// work.
pub(crate) fn release_unused() {
    derm_memstat::release_freed();
    derm_memstat::release_file_pages();
}

/// What a model takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// The packed weights.
    pub weights: usize,
    /// The arena of one inference: its peak beside the weights.
    pub arena: usize,
}

impl Loaded {
    /// Loads an opened model. Its digest is computed on another thread meanwhile.
    pub(crate) fn load(
        model: &Arc<OpenModel>,
        engine: &EngineOptions,
    ) -> Result<Loaded, derm_model::Error> {
        std::thread::scope(|scope| {
            let verifying = std::thread::Builder::new().name("digest".to_owned());
            // Without that thread, or if it fails, the last step of loading does its work and says why.
            let verifying = verifying.spawn_scoped(scope, || model.verify());
            let loaded = Loaded::read(model, engine);
            let _ = verifying.map(|thread| thread.join());
            loaded
        })
    }

    fn read(model: &Arc<OpenModel>, engine: &EngineOptions) -> Result<Loaded, derm_model::Error> {
        let source = ModelSource::Opened(Arc::clone(model));
        let graph = Graph::load(&source)?;
        // What reading needed, heap and code, goes before the weights come.
        release_unused();
        let notes = graph.notes().to_vec();
        let input = graph.input().clone();
        let explainers = Explainers::new(source, graph, engine.clone())?;
        // Nothing of another model was read: this waits for the digest, and compares the stamps again.
        let digest = model.verify()?;
        // What only loading needed: the graph, and the code that made it.
        release_unused();
        Ok(Loaded { explainers, notes, input, digest, _release: ReleaseOnDrop })
    }

    /// Of the files that it was loaded from.
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// The explainer at the default layer, which is also the one that predicts.
    pub(crate) fn base(&self) -> &Explainer {
        self.explainers.base()
    }

    /// The graph's own input.
    pub(crate) fn input(&self) -> &GraphInput {
        &self.input
    }

    /// What a user should know of how the file was read.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The layers that can be explained, in order of computation.
    pub(crate) fn layers(&self) -> &[LayerInfo] {
        self.explainers.layers()
    }

    pub(crate) fn footprint(&self) -> Footprint {
        let plan = self.base().plan();
        Footprint { weights: plan.weight_bytes(), arena: plan.arena_bytes() }
    }

    /// The explainer for this request; the base where there is nothing to explain. The inner error
    /// says why the model has none: then it only predicts.
    ///
    /// # Errors
    /// [`Error::Parameter`]: the model does not have the layer, or cannot be explained there.
    pub(crate) fn explainer_for(
        &self,
        explain: Option<&Explain>,
    ) -> Result<Result<ExplainerRef<'_>, ExplainError>, Error> {
        let Some(explain) = explain else { return Ok(Ok(ExplainerRef::Base(self.base()))) };
        let found = self.request(explain).and_then(|request| {
            let is_made = self.explainers.is_ready(&request);
            let found = self.explainers.for_explaining(&request);
            if !is_made {
                // What only making the plan needed.
                release_unused();
            }
            found
        });
        match found {
            Err(error) => unsuitable_layer(error).map_or_else(|error| Ok(Err(error)), Err),
            found => Ok(found),
        }
    }

    /// Why the layer that is to be explained will be refused, where that is known before its plan is
    /// built.
    pub(crate) fn refusal(&self, explain: &Explain) -> Option<Error> {
        let error = match self.request(explain) {
            Ok(request) => self.explainers.refusal(&request)?,
            Err(error) => error,
        };
        unsuitable_layer(error).ok()
    }

    /// Bytes of the plan that an explanation needs beside the one that predicts; `None` before that
    /// plan was made once.
    pub(crate) fn explanation_bytes(&self, explain: &Explain) -> Option<usize> {
        self.explainers.cost(&self.request(explain).ok()?)
    }

    /// Bytes of the arenas and plans that are kept for a next prediction or explanation.
    pub(crate) fn idle_bytes(&self) -> usize {
        self.explainers.idle_bytes()
    }

    /// Drops the arenas and plans that are only kept for a next prediction or explanation.
    pub(crate) fn release_idle(&self) {
        self.explainers.release_idle();
    }

    /// The explanation as derm-gradcam is asked for it: its layer by name.
    fn request(&self, explain: &Explain) -> Result<ExplainRequest, ExplainError> {
        let layer = by_name(&explain.layer, self.layers())?;
        Ok(ExplainRequest { method: explain.method, layer })
    }
}

/// The error of a request that names a layer which the model does not have or cannot explain; any
/// other error comes back.
fn unsuitable_layer(error: ExplainError) -> Result<Error, ExplainError> {
    let error = match error {
        ExplainError::NoSuchLayer(name) => ExplainError::NoSuchLayer(short(&name)),
        error @ ExplainError::UnsuitableLayer(..) => error,
        error => return Err(error),
    };
    Ok(Error::Parameter { name: "layer", reason: error.to_string() })
}

/// Replaces the number of a layer by its name.
fn by_name(layer: &Layer, layers: &[LayerInfo]) -> Result<Layer, ExplainError> {
    let Layer::Named(name) = layer else { return Ok(layer.clone()) };
    if layers.iter().any(|layer| layer.name == *name) {
        return Ok(layer.clone());
    }
    match name.parse::<usize>() {
        Ok(number) => {
            let found = layers.get(number);
            let found = found.ok_or_else(|| ExplainError::NoSuchLayer(name.clone()))?;
            Ok(Layer::Named(found.name.clone()))
        }
        Err(_) => Ok(layer.clone()),
    }
}
