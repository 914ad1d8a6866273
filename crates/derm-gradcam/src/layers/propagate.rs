//! Propagation of spatial layouts: from the input's rows and columns through every operator.

use super::layout::SpatialLayout;
use super::reshape::Reshape;
use derm_engine::graph_ops::FakeQuantize;
use ndarray::Dimension;
use std::collections::HashMap;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{DimLike, InOut};
use tract_onnx::tract_core::ops::array::{
    CumSum, Gather, GatherElements, Pad, ScatterElements, ScatterNd, Slice, Tile, Topk, Trilu,
    TypedConcat,
};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv, MaxPool, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::downsample::Downsample;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::nn::resize::{NearestUpsample, Resize};
use tract_onnx_opl::resize::Resize as OnnxResize;

/// The layout of every value that has one, propagated from the input's row and column axes through
/// the graph. Values with a single position (squeeze-and-excitation gates, global pooling) have none.
pub(super) fn layouts(
    model: &TypedModel,
    input: [usize; 2],
) -> TractResult<HashMap<OutletId, SpatialLayout>> {
    let source = model.input_outlets()?[0];
    let mut known = HashMap::from([(source, SpatialLayout::FeatureMap(input))]);
    for id in model.eval_order()? {
        let node = model.node(id);
        let outlet = OutletId::new(id, 0);
        if id == source.node {
            continue;
        }
        let Some(shape) = model.outlet_fact(outlet)?.shape.as_concrete() else { continue };
        for slot in 0..node.inputs.len() {
            let Some(&layout) = known.get(&node.inputs[slot]) else { continue };
            if let Some(layout) = propagate(model, node, slot, layout)?
                && fits(shape, layout)
            {
                known.insert(outlet, layout);
                break;
            }
        }
    }
    Ok(known)
}

/// Whether the shape has these axes, with more than one position.
fn fits(shape: &[usize], layout: SpatialLayout) -> bool {
    match layout {
        SpatialLayout::FeatureMap(axes) => {
            axes.iter().all(|&axis| axis < shape.len()) && shape[axes[0]] * shape[axes[1]] > 1
        }
        SpatialLayout::Tokens { axis, first, rows, columns } => {
            rows * columns > 1 && shape.get(axis).is_some_and(|&n| n >= first + rows * columns)
        }
    }
}

/// The layout of a node's output, given that of its input `slot`.
fn propagate(
    model: &TypedModel,
    node: &TypedNode,
    slot: usize,
    layout: SpatialLayout,
) -> TractResult<Option<SpatialLayout>> {
    if let Some(AxisOp::Reshape(at, from, to)) = node.op_as::<AxisOp>() {
        return Ok(Reshape::of(*at, from, to).and_then(|reshape| reshape.layout(layout)));
    }
    match layout {
        SpatialLayout::FeatureMap(axes) => {
            Ok(propagate_map(model, node, slot, axes)?.map(SpatialLayout::FeatureMap))
        }
        SpatialLayout::Tokens { axis, first, rows, columns } => {
            let at = |axis, first| SpatialLayout::Tokens { axis, first, rows, columns };
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
            if keeps_axes(node, slot) {
                return Ok(Some(at(axis, first)));
            }
            Ok(track_axis(model, node, slot, axis)?.map(|axis| at(axis, first)))
        }
    }
}

/// The output's row and column axes.
fn propagate_map(
    model: &TypedModel,
    node: &TypedNode,
    slot: usize,
    axes: [usize; 2],
) -> TractResult<Option<[usize; 2]>> {
    if let Some(pool) = pool_spec(node) {
        let first = pool.data_format.h_axis();
        let is_spatial = |axis: &usize| (first..first + pool.rank()).contains(axis);
        return Ok((slot == 0 && axes.iter().all(is_spatial)).then_some(axes));
    }
    if keeps_axes(node, slot) {
        return Ok(Some(axes));
    }
    let (row, column) =
        (track_axis(model, node, slot, axes[0])?, track_axis(model, node, slot, axes[1])?);
    Ok(row.zip(column).map(|(row, column)| [row, column]))
}

/// The output's axis that corresponds to an axis of input `slot`.
fn track_axis(
    model: &TypedModel,
    node: &TypedNode,
    slot: usize,
    axis: usize,
) -> TractResult<Option<usize>> {
    let of_data = |keeps: bool| Ok((slot == 0 && keeps).then_some(axis));
    if let Some(gather) = node.op_as::<Gather>()
        && slot == 0
    {
        let indices = model.outlet_fact(node.inputs[1])?;
        if axis != gather.axis {
            return Ok(Some(if axis < gather.axis { axis } else { axis + indices.rank() - 1 }));
        }
        let main = indices.konst.as_ref().and_then(|indices| main_axis(indices));
        return Ok(main.map(|main| axis + main));
    }
    if let Some(op) = node.op_as::<GatherElements>() {
        return of_data(axis != op.axis);
    }
    if let Some(op) = node.op_as::<Topk>() {
        return of_data(axis != op.axis);
    }
    if let Some(tile) = node.op_as::<Tile>() {
        return of_data(tile.multipliers[axis].is_one());
    }
    let (inputs, outputs) = model.node_facts(node.id)?;
    let mapping = node.op.axes_mapping(&inputs, &outputs)?;
    mapping.track_axis((InOut::In(slot), axis), InOut::Out(0))
}

/// Of indices that take windows out of an axis (`[window offset, window]` or the other way round), the
/// axis that goes from window to window: the one with the longer way. None where positions do not
/// increase evenly along each axis.
fn main_axis(indices: &Tensor) -> Option<usize> {
    let indices = indices.cast_to::<i64>().ok()?;
    let indices = indices.to_plain_array_view::<i64>().ok()?;
    let first = *indices.first()?;
    let step = |axis: usize| {
        let mut second = vec![0; indices.ndim()];
        second[axis] = 1;
        indices.get(&*second).map_or(0, |second| second.saturating_sub(first))
    };
    let steps: Vec<i64> = (0..indices.ndim()).map(step).collect();
    let is_even = indices.indexed_iter().all(|(at, &index)| {
        let way = |(&at, &step): (&usize, &i64)| step.saturating_mul(at as i64);
        let ways = at.slice().iter().zip(&steps).map(way);
        index == ways.fold(first, i64::saturating_add)
    });
    if !is_even || first < 0 || steps.iter().any(|&step| step < 0) {
        return None;
    }
    (0..indices.ndim())
        .max_by_key(|&axis| steps[axis].saturating_mul(indices.shape()[axis] as i64 - 1))
}

/// Operators whose output has the axes of this input.
fn keeps_axes(node: &TypedNode, slot: usize) -> bool {
    node.op_is::<ElementWiseOp>()
        || node.op_is::<FakeQuantize>()
        || node.op_is::<TypedBinOp>()
        || node.op_is::<TypedConcat>()
        || node.op_is::<Pad>()
        || node.op_is::<Slice>()
        || node.op_is::<Downsample>()
        || slot == 0 && keeps_axes_of_data(node)
}

/// Operators whose output has the axes of their first input: the others are indices and sizes.
fn keeps_axes_of_data(node: &TypedNode) -> bool {
    node.op_is::<Resize>()
        || node.op_is::<NearestUpsample>()
        || node.op_is::<OnnxResize>()
        || node.op_is::<CumSum>()
        || node.op_is::<Trilu>()
        || node.op_is::<ScatterElements>()
        || node.op_is::<ScatterNd>()
}

fn pool_spec(node: &TypedNode) -> Option<&PoolSpec> {
    let conv = node.op_as::<Conv>().map(|op| &op.pool_spec);
    let max = || node.op_as::<MaxPool>().map(|op| &op.pool_spec);
    let sum = || node.op_as::<SumPool>().map(|op| &op.pool_spec);
    let transposed = || node.op_as::<Deconv>().map(|op| &op.pool_spec);
    conv.or_else(max).or_else(sum).or_else(transposed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::tract_core::ops::TypedOp;
    use tract_onnx::tract_core::ops::math;
    use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};

    #[test]
    fn layouts_follow_axis_operators_to_tokens_and_end_at_pooling() {
        let mut model = TypedModel::default();
        let input = model.add_source("input", f32::fact([1, 3, 2, 4])).unwrap();
        let token = model.add_const("token", Tensor::zero::<f32>(&[1, 1, 3]).unwrap()).unwrap();
        let mut wire = |name: &str, op: Box<dyn TypedOp>, inputs: &[OutletId]| {
            model.wire_node(name, op, inputs).unwrap()[0]
        };
        let exp = wire("exp", math::exp().into(), &[input]);
        let moved = wire("moved", AxisOp::Move(1, 3).into(), &[exp]);
        let from = tvec!(2.to_dim(), 4.to_dim());
        let flat = AxisOp::Reshape(1, from, tvec!(8.to_dim()));
        let flat = wire("flat", flat.into(), &[moved]);
        let joined = wire("joined", TypedConcat { axis: 1 }.into(), &[token, flat]);
        let cut = wire("cut", Slice::new(1, 1, 9).into(), &[joined]);
        let pooled = Reduce { axes: tvec!(1), reducer: Reducer::Sum };
        let pooled = wire("pooled", pooled.into(), &[cut]);
        model.select_output_outlets(&[pooled]).unwrap();

        let found = layouts(&model, [2, 3]).unwrap();
        let tokens = |first| SpatialLayout::Tokens { axis: 1, first, rows: 2, columns: 4 };
        for (outlet, expected) in [
            (exp, Some(SpatialLayout::FeatureMap([2, 3]))),
            (moved, Some(SpatialLayout::FeatureMap([1, 2]))),
            (flat, Some(tokens(0))),
            (joined, Some(tokens(1))),
            (cut, Some(tokens(0))),
            (pooled, None),
        ] {
            let node = model.node(outlet.node);
            assert_eq!(found.get(&outlet).copied(), expected, "{}", node.name);
        }
    }

    /// The layout of an operator's output, `[1, c, 8, 8]` being its first input.
    fn after(op: impl Into<Box<dyn TypedOp>>, others: &[Tensor]) -> Option<SpatialLayout> {
        let mut model = TypedModel::default();
        let mut inputs = tvec!(model.add_source("input", f32::fact([1, 4, 8, 8])).unwrap());
        for (number, other) in others.iter().enumerate() {
            inputs.push(model.add_const(format!("other{number}"), other.clone()).unwrap());
        }
        let output = model.wire_node("op", op, &inputs).unwrap()[0];
        model.select_output_outlets(&[output]).unwrap();
        layouts(&model, [2, 3]).unwrap().get(&output).copied()
    }

    #[test]
    fn windows_that_are_gathered_count_by_their_first_positions() {
        let offsets = |window: i64, offset: i64| window * 2 + offset;
        let by_window = Tensor::from(ndarray::Array2::from_shape_fn((4, 2), |(w, o)| {
            offsets(w as i64, o as i64)
        }));
        let by_offset = Tensor::from(ndarray::Array2::from_shape_fn((2, 4), |(o, w)| {
            offsets(w as i64, o as i64)
        }));
        let gather = Gather { axis: 2, output_type: None };
        let map = |row, column| Some(SpatialLayout::FeatureMap([row, column]));
        assert_eq!(after(gather.clone(), &[by_window]), map(2, 4));
        assert_eq!(after(gather.clone(), &[by_offset]), map(3, 4));
        assert_eq!(after(gather.clone(), &[tensor1(&[1i64, 3, 5])]), map(2, 3));
        // Shuffled rows are no rows.
        assert_eq!(after(gather, &[tensor1(&[1i64, 5, 3])]), None);
        let channels = Gather { axis: 1, output_type: None };
        assert_eq!(after(channels, &[tensor1(&[3i64, 0])]), map(2, 3));
    }

    #[test]
    fn selections_along_other_axes_keep_rows_and_columns() {
        let map = Some(SpatialLayout::FeatureMap([2, 3]));
        let top = |axis| Topk { axis, largest: true, fallback_k: 2.to_dim() };
        assert_eq!(after(top(1), &[tensor0(2i64)]), map);
        assert_eq!(after(top(3), &[tensor0(2i64)]), None);
        let tile = |multipliers: [i64; 4]| Tile {
            multipliers: multipliers.iter().map(|m| m.to_dim()).collect(),
        };
        assert_eq!(after(tile([1, 2, 1, 1]), &[]), map);
        assert_eq!(after(tile([1, 1, 2, 1]), &[]), None);
        assert_eq!(after(NearestUpsample { scales: tvec!(1, 1, 2, 3) }, &[]), map);
        assert_eq!(after(CumSum { axis: 2, exclusive: false, reverse: false }, &[]), map);
    }
}
