//! Explainer: one plan that predicts and, for one layer, computes what an explanation needs.

mod evaluation;

pub use evaluation::Evaluation;

use crate::Error;
use crate::autodiff::{backward_graph, replay_graph};
use crate::layers::{Layer, SpatialLayout, resolve};
use derm_model::{EngineOptions, Graph, Manifest, ModelSource, PackedWeightCache, Plan};
use std::sync::Arc;
use tract_onnx::prelude::*;

/// Bytes of activations that are kept from the forward to the backward pass; the rest is recomputed.
/// Back to the input of EfficientNetV2-S, all of them would be 80 MiB.
const ACTIVATION_BUDGET: usize = 30 << 20;

/// What a plan computes in its second phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SecondPhase {
    /// The gradient of `sum(seed * logits)` with respect to the layer, given a seed.
    Gradient,
    /// The logits, given another value of the layer.
    Replay,
}

/// A model that predicts and, where its graph allows, explains at one layer.
///
/// Any number of threads may call [`Explainer::run`] at once.
#[derive(Debug)]
pub struct Explainer {
    plan: Plan,
    /// The layer's spatial layout, or why the model cannot be explained at this layer.
    layout: Result<SpatialLayout, Error>,
    manifest: Arc<Manifest>,
}

impl Explainer {
    /// Loads a model for explanations at `layer`. Weights of the same model that are already in
    /// `cache` are shared, not packed again.
    ///
    /// # Errors
    /// Those of [`Graph::load_keeping`] and [`Plan::new`]. A graph that cannot be explained is not an
    /// error: it predicts, and [`Explainer::why_not`] gives the reason.
    pub fn load(
        source: &ModelSource,
        layer: &Layer,
        options: &EngineOptions,
        cache: &mut PackedWeightCache,
    ) -> Result<Explainer, derm_model::Error> {
        Explainer::new(Graph::load_keeping(source, layer.name().as_slice())?, layer, options, cache)
    }

    /// As [`Explainer::load`], of a graph that was loaded with [`Graph::load_keeping`] and this
    /// layer's name.
    ///
    /// # Errors
    /// Those of [`Plan::new`].
    pub fn new(
        graph: Graph,
        layer: &Layer,
        options: &EngineOptions,
        cache: &mut PackedWeightCache,
    ) -> Result<Explainer, derm_model::Error> {
        Explainer::with(graph, layer, SecondPhase::Gradient, options, cache)
    }

    /// As [`Explainer::load`], with [`Evaluation::replay`] in place of [`Evaluation::gradients`].
    ///
    /// # Errors
    /// Those of [`Explainer::load`].
    pub(crate) fn load_replaying(
        source: &ModelSource,
        layer: &Layer,
        options: &EngineOptions,
        cache: &mut PackedWeightCache,
    ) -> Result<Explainer, derm_model::Error> {
        let graph = Graph::load_keeping(source, layer.name().as_slice())?;
        Explainer::with(graph, layer, SecondPhase::Replay, options, cache)
    }

    fn with(
        graph: Graph,
        layer: &Layer,
        second: SecondPhase,
        options: &EngineOptions,
        cache: &mut PackedWeightCache,
    ) -> Result<Explainer, derm_model::Error> {
        let manifest = Arc::clone(graph.manifest());
        let scores = graph.scores().map_err(unreadable)?;
        let ood_score = graph.ood_score().map_err(unreadable)?;
        let outputs: Vec<OutletId> = [scores].into_iter().chain(ood_score).collect();
        let (typed, layout) = match explained(&graph, layer, second, &outputs) {
            Ok((typed, layout)) => (typed, Ok(layout)),
            Err(error) => {
                let mut typed = graph.typed().clone();
                typed.select_output_outlets(&outputs).map_err(unreadable)?;
                (typed, Err(error))
            }
        };
        // The code that made the gradient has done its work before the weights come.
        derm_memstat::release_file_pages();
        let plan = Plan::new(&graph.with_typed(typed), options, cache)?;
        Ok(Explainer { plan, layout, manifest })
    }

    /// The model's manifest.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// Why the model cannot be explained at this layer; `None` if it can.
    pub fn why_not(&self) -> Option<&Error> {
        self.layout.as_ref().err()
    }

    /// The plan that predicts.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Predicts. `fill` writes the normalised picture, `[rows, columns, channels]`.
    ///
    /// # Errors
    /// [`derm_model::Error::Run`].
    pub fn run(&self, fill: impl FnOnce(&mut [f32])) -> Result<Evaluation<'_>, derm_model::Error> {
        Ok(Evaluation::new(self, self.plan.run(fill)?))
    }

    /// Index of the plan's output that is the layer's value; the output of the second phase is the
    /// next one.
    fn layer_output(&self) -> usize {
        1 + usize::from(self.manifest.uncertain.is_some())
    }
}

/// The graph with its second phase and the layer's layout.
fn explained(
    graph: &Graph,
    layer: &Layer,
    second: SecondPhase,
    outputs: &[OutletId],
) -> Result<(TypedModel, SpatialLayout), Error> {
    let (target, layout) = resolve(graph, layer)?;
    let (typed, weights) = (graph.typed(), graph.weights());
    let outputs: Vec<OutletId> = outputs.iter().copied().chain([target]).collect();
    let typed = match second {
        SecondPhase::Gradient => {
            backward_graph(typed, weights, target, &outputs, ACTIVATION_BUDGET)?
        }
        SecondPhase::Replay => replay_graph(typed, weights, target, &outputs)?,
    };
    Ok((typed, layout))
}

fn unreadable(error: TractError) -> derm_model::Error {
    derm_model::Error::Graph(error.to_string())
}
