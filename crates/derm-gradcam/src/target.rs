//! Where the places of the picture are in each value, and which value an explanation is made at.

use std::collections::{HashMap, HashSet};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{DimLike, InOut};
use tract_onnx::tract_core::ops::array::{Pad, Slice, TypedConcat};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::cnn::{Conv, MaxPool, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::downsample::Downsample;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::math::Add;
use tract_onnx::tract_core::ops::nn::Softmax;

/// Where a value has the places of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grid {
    /// Rows and columns are axes of its shape.
    Map([usize; 2]),
    /// They are one axis, row after row, from its place `first` on: a vision transformer's tokens,
    /// behind those that stand for no place.
    Tokens { axis: usize, first: usize, rows: usize, columns: usize },
}

/// The grid of every value that has one, followed from the input's rows and columns through the
/// graph. Gates and pooled values (one place) have none.
pub(crate) fn grids(model: &TypedModel, input: [usize; 2]) -> TractResult<HashMap<OutletId, Grid>> {
    let source = model.input_outlets()?[0];
    let mut known = HashMap::from([(source, Grid::Map(input))]);
    for id in model.eval_order()? {
        let node = model.node(id);
        let outlet = OutletId::new(id, 0);
        if id == source.node {
            continue;
        }
        let Some(shape) = model.outlet_fact(outlet)?.shape.as_concrete() else { continue };
        for slot in 0..node.inputs.len() {
            let Some(&grid) = known.get(&node.inputs[slot]) else { continue };
            if let Some(grid) = after(model, node, slot, grid)?
                && fits(shape, grid)
            {
                known.insert(outlet, grid);
                break;
            }
        }
    }
    Ok(known)
}

fn fits(shape: &[usize], grid: Grid) -> bool {
    match grid {
        Grid::Map(axes) => {
            axes.iter().all(|&axis| axis < shape.len()) && shape[axes[0]] * shape[axes[1]] > 1
        }
        Grid::Tokens { axis, first, rows, columns } => {
            rows * columns > 1 && shape.get(axis).is_some_and(|&n| n >= first + rows * columns)
        }
    }
}

/// The grid of a node's output, if that of input `slot` leads there.
fn after(
    model: &TypedModel,
    node: &TypedNode,
    slot: usize,
    grid: Grid,
) -> TractResult<Option<Grid>> {
    match grid {
        Grid::Map(axes) => {
            if let Some(AxisOp::Reshape(at, from, to)) = node.op_as::<AxisOp>()
                && let [Ok(rows), Ok(columns)] =
                    from.iter().map(|dim| dim.to_usize()).collect::<Vec<_>>()[..]
                && axes == [*at, at + 1]
                && to.len() == 1
            {
                return Ok(Some(Grid::Tokens { axis: *at, first: 0, rows, columns }));
            }
            Ok(map_after(model, node, slot, axes)?.map(Grid::Map))
        }
        Grid::Tokens { axis, first, rows, columns } => {
            let at = |axis, first| Grid::Tokens { axis, first, rows, columns };
            if let Some(concat) = node.op_as::<TypedConcat>()
                && concat.axis == axis
            {
                let mut before = first;
                for &input in &node.inputs[..slot] {
                    before += model.outlet_fact(input)?.shape[axis].to_usize()?;
                }
                return Ok(Some(at(axis, before)));
            }
            if let Some(slice) = node.op_as::<Slice>()
                && slice.axis == axis
            {
                let start = slice.start.to_usize()?;
                return Ok(first.checked_sub(start).map(|first| at(axis, first)));
            }
            if keeps_axes(node) {
                return Ok(Some(at(axis, first)));
            }
            Ok(tracked(model, node, slot, axis)?.map(|axis| at(axis, first)))
        }
    }
}

fn map_after(
    model: &TypedModel,
    node: &TypedNode,
    slot: usize,
    axes: [usize; 2],
) -> TractResult<Option<[usize; 2]>> {
    if let Some(pool) = pool_spec(node) {
        let first = pool.data_format.h_axis();
        return Ok((slot == 0 && pool.rank() == 2).then_some([first, first + 1]));
    }
    if keeps_axes(node) {
        return Ok(Some(axes));
    }
    let (row, column) =
        (tracked(model, node, slot, axes[0])?, tracked(model, node, slot, axes[1])?);
    Ok(row.zip(column).map(|(row, column)| [row, column]))
}

/// Where the output has an axis of input `slot`.
fn tracked(
    model: &TypedModel,
    node: &TypedNode,
    slot: usize,
    axis: usize,
) -> TractResult<Option<usize>> {
    let (inputs, outputs) = model.node_facts(node.id)?;
    let mapping = node.op.axes_mapping(&inputs, &outputs)?;
    mapping.track_axis((InOut::In(slot), axis), InOut::Out(0))
}

fn keeps_axes(node: &TypedNode) -> bool {
    node.op_is::<ElementWiseOp>()
        || node.op_is::<TypedBinOp>()
        || node.op_is::<TypedConcat>()
        || node.op_is::<Pad>()
        || node.op_is::<Slice>()
        || node.op_is::<Downsample>()
}

fn pool_spec(node: &TypedNode) -> Option<&PoolSpec> {
    let conv = node.op_as::<Conv>().map(|op| &op.pool_spec);
    let max = || node.op_as::<MaxPool>().map(|op| &op.pool_spec);
    let sum = || node.op_as::<SumPool>().map(|op| &op.pool_spec);
    conv.or_else(max).or_else(sum)
}

/// The value that is explained unless another is named: the last feature map that `output` depends
/// on; of a vision transformer, what the last attention reads.
pub(crate) fn automatic(
    model: &TypedModel,
    output: OutletId,
    grids: &HashMap<OutletId, Grid>,
) -> TractResult<Option<OutletId>> {
    let needed = ancestors(model, output);
    let order: Vec<usize> =
        model.eval_order()?.into_iter().filter(|id| needed.contains(id)).collect();
    if let Some(tokens) = attention_input(model, &order, output, grids) {
        return Ok(Some(tokens));
    }
    let source = model.input_outlets()?[0];
    let is_map = |outlet: &OutletId| matches!(grids.get(outlet), Some(Grid::Map(_)));
    let outlets = order.into_iter().rev().map(|id| OutletId::new(id, 0));
    Ok(outlets.filter(|outlet| *outlet != source).find(is_map))
}

/// The tokens that the last attention's queries, keys and values are made of: behind it, only the
/// token that is classified matters, and no place has a gradient. `blocks[-1].norm1` in timm's
/// networks, which pytorch-grad-cam advises.
fn attention_input(
    model: &TypedModel,
    order: &[usize],
    output: OutletId,
    grids: &HashMap<OutletId, Grid>,
) -> Option<OutletId> {
    let is_tokens =
        |id: &usize| matches!(grids.get(&OutletId::new(*id, 0)), Some(Grid::Tokens { .. }));
    let softmax = *order.iter().rev().find(|&&id| {
        model.node(id).op_is::<Softmax>()
            && id != output.node
            && is_tokens(&model.node(id).inputs[0].node)
    })?;
    let mixed = product_of(model, softmax)?;
    let product = model.node(mixed);
    let weights_side = descendants(model, softmax.into());
    let values = product
        .inputs
        .iter()
        .find(|input| input.node != softmax && !weights_side.contains(&input.node))?;
    let (of_weights, of_values) = (ancestors(model, softmax.into()), ancestors(model, *values));
    let common = |id: &&usize| of_weights.contains(*id) && of_values.contains(*id) && is_tokens(id);
    let common = *order.iter().rev().find(common)?;
    Some(before_projection(model, common))
}

/// The first product that reads a softmax's weights.
fn product_of(model: &TypedModel, softmax: usize) -> Option<usize> {
    let mut id = softmax;
    loop {
        let [next] = model.outlet_successors(id.into()) else { return None };
        if model.node(next.node).op_is::<EinSum>() {
            return Some(next.node);
        }
        id = next.node;
    }
}

/// Where queries, keys and values come from one product, what that reads.
fn before_projection(model: &TypedModel, id: usize) -> OutletId {
    let is_constant = |outlet: &&OutletId| {
        let node = model.node(outlet.node);
        node.inputs.is_empty() || node.inputs.iter().all(|i| model.node(i.node).inputs.is_empty())
    };
    let varying = |id: usize| {
        let inputs = &model.node(id).inputs;
        inputs.iter().find(|outlet| !is_constant(outlet)).or(inputs.first()).copied()
    };
    let mut at = id;
    loop {
        let node = model.node(at);
        let renames = node.op_is::<AxisOp>() || node.op_is::<Slice>() || node.op_is::<Cast>();
        let adds = node.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<Add>());
        let Some(input) = varying(at) else { return id.into() };
        if node.op_is::<EinSum>() {
            return input;
        }
        if !renames && !adds {
            return id.into();
        }
        at = input.node;
    }
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
