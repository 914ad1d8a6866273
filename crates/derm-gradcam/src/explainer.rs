//! A model that predicts and explains: its graph and the gradient of a class, as one plan.

use crate::Error;
use crate::tape::{differentiate, replay};
use crate::target::{Grid, ancestors, automatic, grids};
use derm_model::{Graph, Kernels, Manifest, ModelSource, Plan, Run, Settings};
use ndarray::{ArrayViewD, Axis, CowArray, Ix3, Slice};
use std::sync::Arc;
use tract_onnx::prelude::*;

/// Bytes of values that are kept from the forward to the backward pass; those beyond are computed
/// again.
const KEPT: usize = 30 << 20;

/// The layer whose places are judged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Layer {
    /// The last feature map; of a vision transformer, the tokens that its last attention reads.
    #[default]
    Last,
    /// The ONNX node of this name, or the node that computes the value of this name.
    Named(String),
    /// The picture itself, as the network reads it.
    Input,
}

impl Layer {
    /// The name, if it goes by one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Layer::Named(name) => Some(name),
            Layer::Last | Layer::Input => None,
        }
    }
}

/// A layer that [`Layer::Named`] can name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerInfo {
    /// Its ONNX node.
    pub name: String,
    /// The shape of its value.
    pub shape: Vec<usize>,
}

/// What a plan computes in its second phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The gradient of `sum(seed * logits)` at the target, for a seed.
    Gradient,
    /// The scores, for another value of the target.
    Replay,
}

/// A model that predicts and, where its graph allows, explains at one layer.
#[derive(Debug)]
pub struct Explainer {
    plan: Plan,
    /// Where the target has its places, or why nothing can be explained.
    grid: Result<Grid, Error>,
    manifest: Arc<Manifest>,
}

/// What one run computed, and can still compute: enough to explain any class.
#[derive(Debug)]
pub struct Evaluation<'a> {
    /// The graph's first output, `[classes]`.
    pub scores: Vec<f32>,
    /// What the manifest's `uncertain.output` names.
    pub ood_score: Option<f32>,
    explainer: &'a Explainer,
    run: Run<'a>,
    /// Whether the run holds another picture than the one that was evaluated.
    is_changed: bool,
}

impl Explainer {
    /// Loads a model to be explained at `layer`. Weights that are in `kernels`, of the same model,
    /// are not packed again.
    ///
    /// # Errors
    /// Those of [`Graph::load_keeping`] and [`Plan::new`]. A graph that cannot be explained is
    /// none: it predicts, and [`Explainer::why_not`] tells the reason.
    pub fn load(
        source: &ModelSource,
        layer: &Layer,
        settings: &Settings,
        kernels: &mut Kernels,
    ) -> Result<Explainer, derm_model::Error> {
        Explainer::new(Graph::load_keeping(source, layer.name())?, layer, settings, kernels)
    }

    /// Differentiates a graph that was loaded with [`Graph::load_keeping`] and this layer's name.
    ///
    /// # Errors
    /// Those of [`Plan::new`].
    pub fn new(
        graph: Graph,
        layer: &Layer,
        settings: &Settings,
        kernels: &mut Kernels,
    ) -> Result<Explainer, derm_model::Error> {
        Explainer::with(graph, layer, Phase::Gradient, settings, kernels)
    }

    /// As [`Explainer::load`], for [`Evaluation::replayed`] in place of [`Evaluation::gradients`].
    ///
    /// # Errors
    /// As [`Explainer::load`].
    pub(crate) fn load_replaying(
        source: &ModelSource,
        layer: &Layer,
        settings: &Settings,
        kernels: &mut Kernels,
    ) -> Result<Explainer, derm_model::Error> {
        let graph = Graph::load_keeping(source, layer.name())?;
        Explainer::with(graph, layer, Phase::Replay, settings, kernels)
    }

    fn with(
        graph: Graph,
        layer: &Layer,
        phase: Phase,
        settings: &Settings,
        kernels: &mut Kernels,
    ) -> Result<Explainer, derm_model::Error> {
        let manifest = Arc::clone(graph.manifest());
        let scores = graph.scores().map_err(unreadable)?;
        let ood_score = graph.ood_score().map_err(unreadable)?;
        let values: Vec<OutletId> = [scores].into_iter().chain(ood_score).collect();
        let explained = target(&graph, layer).and_then(|(target, grid)| {
            let (typed, weights) = (graph.typed(), graph.weights());
            let values: Vec<OutletId> = values.iter().copied().chain([target]).collect();
            let typed = match phase {
                Phase::Gradient => differentiate(typed, weights, target, &values, KEPT)?,
                Phase::Replay => replay(typed, weights, target, &values)?,
            };
            Ok((typed, grid))
        });
        let (typed, grid) = match explained {
            Ok((typed, grid)) => (typed, Ok(grid)),
            Err(error) => {
                let mut typed = graph.typed().clone();
                typed.select_output_outlets(&values).map_err(unreadable)?;
                (typed, Err(error))
            }
        };
        let plan = Plan::new(&graph.with_typed(typed), settings, kernels)?;
        Ok(Explainer { plan, grid, manifest })
    }

    /// The model's manifest.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// Why there are no heatmaps, if there are none.
    pub fn why_not(&self) -> Option<&Error> {
        self.grid.as_ref().err()
    }

    /// The plan that predicts.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Predicts. `fill` writes the picture: rows, columns, channels.
    ///
    /// # Errors
    /// [`derm_model::Error::Run`].
    pub fn run(&self, fill: impl FnOnce(&mut [f32])) -> Result<Evaluation<'_>, derm_model::Error> {
        let run = self.plan.run(fill)?;
        let scores = run.output(0).iter().copied().collect();
        let known = self.manifest.uncertain.as_ref();
        let ood_score = known.and_then(|_| run.output(1).iter().copied().next());
        Ok(Evaluation { scores, ood_score, explainer: self, run, is_changed: false })
    }

    /// Number of the plan's output that is the target's value; what the second phase computes
    /// comes after it.
    fn target_output(&self) -> usize {
        1 + usize::from(self.manifest.uncertain.is_some())
    }
}

impl<'a> Evaluation<'a> {
    /// Who made it.
    pub(crate) fn explainer(&self) -> &'a Explainer {
        self.explainer
    }

    /// Runs another picture in the same memory; returns its scores. What this evaluation tells from
    /// now on is about that one, until [`Evaluation::restore`].
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub(crate) fn rerun(&mut self, fill: impl FnOnce(&mut [f32])) -> Result<Vec<f32>, Error> {
        self.is_changed = true;
        self.run.feed(0, fill)?;
        Ok(self.run.output(0).iter().copied().collect())
    }

    /// Runs the picture again that was evaluated, which `fill` writes, if there was another since.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub(crate) fn restore(&mut self, fill: impl FnOnce(&mut [f32])) -> Result<(), Error> {
        if self.is_changed {
            self.run.feed(0, fill)?;
            self.is_changed = false;
        }
        Ok(())
    }

    /// The layer's values: `[channels, rows, columns]`.
    ///
    /// # Errors
    /// [`Explainer::why_not`]'s.
    pub fn activations(&self) -> Result<CowArray<'_, f32, Ix3>, Error> {
        let grid = self.explainer.grid.clone()?;
        channels_first(self.run.output(self.explainer.target_output()), grid)
    }

    /// Carries the gradient of a class's logit back, for [`Evaluation::gradients`].
    ///
    /// # Errors
    /// [`Explainer::why_not`]'s, [`Error::NoSuchClass`], [`Error::Failed`].
    pub fn differentiate(&mut self, class: usize) -> Result<(), Error> {
        self.explainer.grid.clone()?;
        if class >= self.scores.len() {
            return Err(Error::NoSuchClass(class));
        }
        self.run.feed(1, |seed| {
            seed.fill(0.0);
            seed[class] = 1.0;
        })?;
        Ok(())
    }

    /// The gradient with respect to the layer's values, of the shape of
    /// [`Evaluation::activations`], of the class that was differentiated last; before, nothing.
    ///
    /// # Errors
    /// [`Explainer::why_not`]'s.
    pub fn gradients(&self) -> Result<CowArray<'_, f32, Ix3>, Error> {
        let grid = self.explainer.grid.clone()?;
        channels_first(self.run.output(self.explainer.target_output() + 1), grid)
    }

    /// The logits with one channel of the layer (as [`Evaluation::activations`] numbers them) set to
    /// zero everywhere, or as they are. Of an explainer that [`Explainer::load_replaying`] made.
    ///
    /// # Errors
    /// [`Explainer::why_not`]'s, [`Error::Failed`].
    pub(crate) fn replayed(&mut self, without: Option<usize>) -> Result<Vec<f32>, Error> {
        let places = match self.explainer.grid.clone()? {
            Grid::Map(axes) => axes.to_vec(),
            Grid::Tokens { axis, .. } => vec![axis],
        };
        let number = self.explainer.target_output();
        let mut value = self.run.output(number).as_standard_layout().into_owned();
        if let Some(mut rest) = without {
            let mut view = value.view_mut();
            // From the fastest of the other axes to the slowest; each keeps the one place.
            for axis in (0..view.ndim()).rev().filter(|axis| !places.contains(axis)) {
                let length = view.len_of(Axis(axis));
                view.slice_axis_inplace(Axis(axis), Slice::from(rest % length..rest % length + 1));
                rest /= length;
            }
            view.fill(0.0);
        }
        let values = value.as_slice().expect("in standard layout");
        self.run.feed(1, |to| to.copy_from_slice(values))?;
        Ok(self.run.output(number + 1).iter().copied().collect())
    }
}

/// The layers that a graph can be explained at, in order of computation.
///
/// # Errors
/// [`derm_model::Error::Graph`].
pub fn layers(graph: &Graph) -> Result<Vec<LayerInfo>, derm_model::Error> {
    let found = || -> TractResult<Vec<LayerInfo>> {
        let typed = graph.typed();
        let grids = grids(typed, graph.manifest().input.spatial_axes())?;
        let needed = ancestors(typed, graph.scores()?);
        let source = typed.input_outlets()?[0];
        let order = typed.eval_order()?.into_iter().filter(|id| needed.contains(id));
        let outlets = order.map(|id| OutletId::new(id, 0));
        Ok(outlets
            .filter(|outlet| *outlet != source && grids.contains_key(outlet))
            .filter(|outlet| graph.has_layer(&typed.node(outlet.node).name))
            .map(|outlet| {
                let shape =
                    typed.outlet_fact(outlet).ok().and_then(|fact| fact.shape.as_concrete());
                let shape = shape.unwrap_or_default().to_vec();
                LayerInfo { name: typed.node(outlet.node).name.clone(), shape }
            })
            .collect())
    };
    found().map_err(unreadable)
}

/// Where the wanted layer is computed, and where its places are.
fn target(graph: &Graph, layer: &Layer) -> Result<(OutletId, Grid), Error> {
    let typed = graph.typed();
    let grids = grids(typed, graph.manifest().input.spatial_axes())?;
    let target = match (layer, graph.kept_layer()?) {
        (Layer::Input, _) => typed.input_outlets()?[0],
        (_, Some(layer)) => layer,
        _ => automatic(typed, graph.scores()?, &grids)?.ok_or(Error::NoSpatialLayer)?,
    };
    let grid = *grids.get(&target).ok_or_else(|| {
        let name = layer.name().unwrap_or_default().to_owned();
        Error::UnsuitableLayer(name, "it has no rows and columns")
    })?;
    Ok((target, grid))
}

/// `[channels, rows, columns]` of one picture: the axes beside rows and columns become one. A view
/// where it can be one.
fn channels_first(
    values: ArrayViewD<'_, f32>,
    grid: Grid,
) -> Result<CowArray<'_, f32, Ix3>, Error> {
    let malformed = |error: ndarray::ShapeError| Error::Failed(error.to_string());
    let (last, [rows, columns], mut values) = match grid {
        Grid::Map([row, column]) => {
            let sides = [values.len_of(Axis(row)), values.len_of(Axis(column))];
            (vec![row, column], sides, values)
        }
        Grid::Tokens { axis, first, rows, columns } => {
            let mut places = values;
            places.slice_axis_inplace(Axis(axis), Slice::from(first..first + rows * columns));
            (vec![axis], [rows, columns], places)
        }
    };
    let rank = values.ndim();
    values = values.permuted_axes(order(rank, &last));
    while values.ndim() > 1 + last.len()
        && let Some(axis) = (0..values.ndim() - last.len()).find(|&a| values.len_of(Axis(a)) == 1)
    {
        values = values.index_axis_move(Axis(axis), 0);
    }
    if last.len() == 2 && values.ndim() == 3 {
        return Ok(values.into_dimensionality::<Ix3>().map_err(malformed)?.into());
    }
    let channels = values.len() / (rows * columns);
    let values = values.as_standard_layout().into_owned();
    let shaped = values.into_shape_with_order((channels, rows, columns));
    Ok(shaped.map_err(malformed)?.into())
}

/// All axes, `last` at the end.
fn order(rank: usize, last: &[usize]) -> Vec<usize> {
    (0..rank).filter(|axis| !last.contains(axis)).chain(last.iter().copied()).collect()
}

fn unreadable(error: TractError) -> derm_model::Error {
    derm_model::Error::Graph(error.to_string())
}
