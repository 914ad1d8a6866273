//! Layers: the values of a graph that can be explained, and the one that a request means.

mod default_layer;
mod layout;
mod propagate;
mod reshape;

pub(crate) use layout::SpatialLayout;

use crate::Error;
use crate::reachability::ancestors;
use default_layer::default_layer;
use derm_engine::graph_ops::{Dequantize, Quantize};
use derm_model::Graph;
use propagate::layouts;
use tract_onnx::prelude::*;

/// The layer at which an explanation is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Layer {
    /// The last feature map; of a vision transformer, the tokens that its last attention reads.
    #[default]
    Last,
    /// The ONNX node of this name, or the node that computes the value of this name.
    Named(String),
    /// The network's input.
    Input,
}

impl Layer {
    /// The name of a [`Layer::Named`].
    pub fn name(&self) -> Option<&str> {
        match self {
            Layer::Named(name) => Some(name),
            Layer::Last | Layer::Input => None,
        }
    }
}

/// A layer that [`Layer::Named`] can name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerInfo {
    /// The name of its ONNX node.
    pub name: String,
    /// The shape of its value.
    pub shape: Vec<usize>,
}

/// The layers at which a graph can be explained, in evaluation order. `QuantizeLinear` and
/// `DequantizeLinear` are none: they say how the value of another layer is stored.
///
/// # Errors
/// [`derm_model::Error::Graph`].
pub fn layers(graph: &Graph) -> Result<Vec<LayerInfo>, derm_model::Error> {
    named_layers(graph).map_err(|error| derm_model::Error::Graph(error.to_string()))
}

fn named_layers(graph: &Graph) -> TractResult<Vec<LayerInfo>> {
    let typed = graph.typed();
    let layouts = layouts(typed, graph.manifest().input.spatial_axes())?;
    let needed = ancestors(typed, graph.scores()?);
    let source = typed.input_outlets()?[0];
    let order = typed.eval_order()?.into_iter().filter(|id| needed.contains(id));
    let outlets = order.map(|id| OutletId::new(id, 0));
    Ok(outlets
        .filter(|outlet| *outlet != source && layouts.contains_key(outlet))
        .filter(|outlet| {
            let node = typed.node(outlet.node);
            let is_stored_form = node.op_is::<Quantize>() || node.op_is::<Dequantize>();
            !is_stored_form && graph.has_layer(&node.name)
        })
        .map(|outlet| {
            let fact = typed.outlet_fact(outlet).ok();
            let shape = fact.and_then(|fact| fact.shape.as_concrete()).unwrap_or_default();
            LayerInfo { name: typed.node(outlet.node).name.clone(), shape: shape.to_vec() }
        })
        .collect())
}

/// The value that `layer` means in a graph that was loaded for it, and its spatial layout.
///
/// # Errors
/// [`Error::NoSpatialLayer`], [`Error::UnsuitableLayer`].
pub(crate) fn resolve(graph: &Graph, layer: &Layer) -> Result<(OutletId, SpatialLayout), Error> {
    let typed = graph.typed();
    let layouts = layouts(typed, graph.manifest().input.spatial_axes())?;
    let target = match (layer, graph.kept_layer()?) {
        (Layer::Input, _) => first_float(typed, typed.input_outlets()?[0])?,
        (_, Some(layer)) => layer,
        _ => default_layer(typed, graph.scores()?, &layouts)?.ok_or(Error::NoSpatialLayer)?,
    };
    let layout = *layouts.get(&target).ok_or_else(|| {
        let name = layer.name().map_or_else(|| name_of(typed.node(target.node)), str::to_owned);
        Error::UnsuitableLayer(name, "it has no rows and columns")
    })?;
    Ok((target, layout))
}

/// The input itself, or its values as floats where the graph reads integers.
fn first_float(model: &TypedModel, input: OutletId) -> TractResult<OutletId> {
    let mut outlet = input;
    while model.outlet_fact(outlet)?.datum_type != DatumType::F32 {
        let [reader] = model.outlet_successors(outlet) else { return Ok(input) };
        outlet = reader.node.into();
    }
    Ok(outlet)
}

/// The name of a node; its operator's where it has none.
pub(crate) fn name_of(node: &TypedNode) -> String {
    let unnamed = || format!("{} number {}", node.op.name(), node.id);
    if node.name.is_empty() { unnamed() } else { node.name.clone() }
}
