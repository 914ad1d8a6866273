//! A model cut in two at the target layer.

use crate::head::Head;
use crate::target::{SpatialAxes, last_spatial, spatial_axes};
use crate::{Error, Heatmap};
use derm_model::{Graph, Manifest, ModelSource, Plan, Settings};
use ndarray::{ArrayD, ArrayViewD, Axis, Ix3};
use std::sync::Arc;
use tract_onnx::prelude::*;

/// The layer whose places are judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Layer {
    /// The last value of the graph with rows and columns.
    #[default]
    Last,
    /// The ONNX node of this name, or the node that computes the value of this name.
    Named(String),
}

impl Layer {
    /// The name, if it goes by one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Layer::Last => None,
            Layer::Named(name) => Some(name),
        }
    }
}

/// A model that predicts and, where its graph allows, explains.
#[derive(Debug)]
pub struct Explainer {
    /// The whole graph; hands out what the head's gradient needs.
    plan: Plan,
    /// The head and the target's axes, or why there is none.
    head: Result<(Head, SpatialAxes), Error>,
    manifest: Arc<Manifest>,
}

/// What one run computed: enough to explain any class.
#[derive(Debug)]
pub struct Evaluation {
    /// The graph's first output, `[classes]`.
    pub scores: Vec<f32>,
    /// What the manifest's `uncertain.output` names.
    pub ood_score: Option<f32>,
    cuts: Vec<Arc<Tensor>>,
    values: Vec<Arc<Tensor>>,
}

impl Explainer {
    /// Loads a model and cuts it at `layer`.
    ///
    /// # Errors
    /// Those of [`Graph::load_keeping`] and [`Plan::new`]. A graph that cannot be explained is
    /// none: it predicts, and [`Explainer::why_not`] tells the reason.
    pub fn load(
        source: &ModelSource,
        layer: &Layer,
        settings: &Settings,
    ) -> Result<Explainer, derm_model::Error> {
        Explainer::new(Graph::load_keeping(source, layer.name())?, layer, settings)
    }

    /// Cuts a graph that was loaded with [`Graph::load_keeping`] and this layer's name.
    ///
    /// # Errors
    /// Those of [`Plan::new`].
    pub fn new(
        graph: Graph,
        layer: &Layer,
        settings: &Settings,
    ) -> Result<Explainer, derm_model::Error> {
        let name = layer.name();
        let manifest = Arc::clone(graph.manifest());
        let head = cut(&graph, name);
        let ood_score = graph.ood_score().map_err(unreadable)?;
        let explained: Vec<OutletId> = match &head {
            Ok((head, _)) => head.cuts().iter().copied().chain(head.values()).collect(),
            Err(_) => vec![graph.scores().map_err(unreadable)?],
        };
        let outputs: Vec<OutletId> = ood_score.into_iter().chain(explained).collect();
        let plan = Plan::new(&graph.with_outputs(&outputs)?, settings)?;
        Ok(Explainer { plan, head, manifest })
    }

    /// The model's manifest.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// Why there are no heatmaps, if there are none.
    pub fn why_not(&self) -> Option<&Error> {
        self.head.as_ref().err()
    }

    /// The plan that predicts.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Predicts. `fill` writes the picture: rows, columns, channels.
    ///
    /// # Errors
    /// [`derm_model::Error::Run`].
    pub fn run(&self, fill: impl FnOnce(&mut [f32])) -> Result<Evaluation, derm_model::Error> {
        let failed = |error: TractError| derm_model::Error::Run(format!("{error:#}"));
        let outputs = self.plan.run(fill)?;
        let outputs: Vec<Arc<Tensor>> = outputs.into_iter().map(Arc::new).collect();
        let numbers = |tensor: &Tensor| -> Result<Vec<f32>, derm_model::Error> {
            Ok(tensor.to_plain_array_view::<f32>().map_err(failed)?.iter().copied().collect())
        };
        let mut cuts = outputs;
        let ood_score = match self.manifest.uncertain {
            Some(_) => numbers(&cuts.remove(0))?.first().copied(),
            None => None,
        };
        let count = self.head.as_ref().map_or(0, |(head, _)| head.cuts().len());
        let values = cuts.split_off(count);
        let scores = numbers(values.last().expect("a graph has an output"))?;
        Ok(Evaluation { scores, ood_score, cuts, values })
    }

    /// Grad-CAM of one class, from the gradient of its logit.
    ///
    /// # Errors
    /// [`Explainer::why_not`]'s, [`Error::NoSuchClass`], [`Error::Failed`].
    pub fn grad_cam(&self, evaluation: &Evaluation, class: usize) -> Result<Heatmap, Error> {
        let (head, axes) = self.head.as_ref().map_err(Clone::clone)?;
        let gradient = head.gradient(&evaluation.cuts, &evaluation.values, class)?;
        let activation = evaluation.cuts[0].to_plain_array_view::<f32>()?;
        let activations = channels_first(activation, *axes)?;
        let gradients = channels_first(gradient.view(), *axes)?;
        let three = |array: ArrayD<f32>| {
            array.into_dimensionality::<Ix3>().map_err(|error| Error::Failed(error.to_string()))
        };
        Ok(Heatmap::grad_cam(three(activations)?.view(), three(gradients)?.view()))
    }
}

/// The head from the wanted layer, and that layer's axes.
fn cut(graph: &Graph, name: Option<&str>) -> Result<(Head, SpatialAxes), Error> {
    let typed = graph.typed();
    let axes = spatial_axes(typed, graph.manifest().input.spatial_axes())?;
    let target = match graph.kept_layer()? {
        Some(layer) => layer,
        None => last_spatial(typed, graph.scores()?, &axes)?.ok_or(Error::NoSpatialLayer)?,
    };
    let target_axes = *axes.get(&target).ok_or_else(|| {
        Error::UnsuitableLayer(name.unwrap_or_default().to_owned(), "it has no rows and columns")
    })?;
    Ok((Head::new(typed, graph.weights(), target)?, target_axes))
}

/// `[channels, rows, columns]` of one picture: the axes beside rows and columns become one.
fn channels_first(
    values: ArrayViewD<f32>,
    [row, column]: SpatialAxes,
) -> Result<ArrayD<f32>, Error> {
    let rank = values.ndim();
    let others = (0..rank).filter(|&axis| axis != row && axis != column);
    let order: Vec<usize> = others.chain([row, column]).collect();
    let (rows, columns) = (values.len_of(Axis(row)), values.len_of(Axis(column)));
    let channels = values.len() / (rows * columns);
    values
        .permuted_axes(order)
        .as_standard_layout()
        .into_owned()
        .into_shape_with_order(vec![channels, rows, columns])
        .map_err(|error| Error::Failed(error.to_string()))
}

fn unreadable(error: TractError) -> derm_model::Error {
    derm_model::Error::Graph(error.to_string())
}
