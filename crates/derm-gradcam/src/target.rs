//! Which axes of each value are rows and columns, and which value is the last that has any.

use std::collections::{HashMap, HashSet};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::InOut;
use tract_onnx::tract_core::ops::array::{Pad, Slice, TypedConcat};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::{Conv, MaxPool, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::downsample::Downsample;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;

/// Rows and columns of a value, as positions in its shape.
pub(crate) type SpatialAxes = [usize; 2];

/// The spatial axes of every value that has them, followed from the input's through the graph.
/// Gates and pooled values (one place) have none.
pub(crate) fn spatial_axes(
    model: &TypedModel,
    input: SpatialAxes,
) -> TractResult<HashMap<OutletId, SpatialAxes>> {
    let mut known = HashMap::new();
    let source = model.input_outlets()?[0];
    known.insert(source, input);
    for id in model.eval_order()? {
        let node = model.node(id);
        if node.id == source.node {
            continue;
        }
        let outlet = OutletId::new(id, 0);
        if let Some(axes) = after(model, node, &known)?
            && let Some(shape) = model.outlet_fact(outlet)?.shape.as_concrete()
            && axes.iter().all(|&axis| axis < shape.len())
            && shape[axes[0]] * shape[axes[1]] > 1
        {
            known.insert(outlet, axes);
        }
    }
    Ok(known)
}

/// The spatial axes of a node's output, if those of an input lead there.
fn after(
    model: &TypedModel,
    node: &TypedNode,
    known: &HashMap<OutletId, SpatialAxes>,
) -> TractResult<Option<SpatialAxes>> {
    let Some(slot) = node.inputs.iter().position(|input| known.contains_key(input)) else {
        return Ok(None);
    };
    let axes = known[&node.inputs[slot]];
    if let Some(pool) = pool_spec(node) {
        let first = pool.data_format.h_axis();
        return Ok((pool.rank() == 2).then_some([first, first + 1]));
    }
    let keeps_axes = node.op_is::<ElementWiseOp>()
        || node.op_is::<TypedBinOp>()
        || node.op_is::<TypedConcat>()
        || node.op_is::<Pad>()
        || node.op_is::<Slice>()
        || node.op_is::<Downsample>();
    if keeps_axes {
        return Ok(Some(axes));
    }
    let (inputs, outputs) = model.node_facts(node.id)?;
    let mapping = node.op.axes_mapping(&inputs, &outputs)?;
    let track = |axis| mapping.track_axis((InOut::In(slot), axis), InOut::Out(0));
    Ok(match (track(axes[0])?, track(axes[1])?) {
        (Some(row), Some(column)) => Some([row, column]),
        _ => None,
    })
}

fn pool_spec(node: &TypedNode) -> Option<&PoolSpec> {
    let conv = node.op_as::<Conv>().map(|op| &op.pool_spec);
    let max = || node.op_as::<MaxPool>().map(|op| &op.pool_spec);
    let sum = || node.op_as::<SumPool>().map(|op| &op.pool_spec);
    conv.or_else(max).or_else(sum)
}

/// The last value, in order of evaluation, that has spatial axes and that `output` depends on.
pub(crate) fn last_spatial(
    model: &TypedModel,
    output: OutletId,
    axes: &HashMap<OutletId, SpatialAxes>,
) -> TractResult<Option<OutletId>> {
    let needed = ancestors(model, output);
    let source = model.input_outlets()?[0];
    let mut last = None;
    for id in model.eval_order()? {
        let outlet = OutletId::new(id, 0);
        if needed.contains(&id) && axes.contains_key(&outlet) && outlet != source {
            last = Some(outlet);
        }
    }
    Ok(last)
}

/// Every node that `output` depends on, its own included.
pub(crate) fn ancestors(model: &TypedModel, output: OutletId) -> HashSet<usize> {
    let mut found = HashSet::new();
    let mut open = vec![output.node];
    while let Some(id) = open.pop() {
        if found.insert(id) {
            open.extend(model.node(id).inputs.iter().map(|input| input.node));
        }
    }
    found
}

/// Every node that depends on `outlet`.
pub(crate) fn descendants(model: &TypedModel, outlet: OutletId) -> HashSet<usize> {
    let mut found = HashSet::new();
    let mut open: Vec<usize> =
        model.outlet_successors(outlet).iter().map(|inlet| inlet.node).collect();
    while let Some(id) = open.pop() {
        if found.insert(id) {
            let outputs = &model.node(id).outputs;
            open.extend(outputs.iter().flat_map(|o| &o.successors).map(|inlet| inlet.node));
        }
    }
    found
}
