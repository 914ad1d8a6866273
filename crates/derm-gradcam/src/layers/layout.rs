//! Spatial layout: along which axes of a value the rows and columns of the input lie.

use crate::Error;
use ndarray::{ArrayD, ArrayViewD, Axis, CowArray, Ix3, Slice as AxisSlice};
use std::collections::HashMap;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{DimLike, InOut};
use tract_onnx::tract_core::ops::array::{Pad, Slice, TypedConcat};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::cnn::{Conv, MaxPool, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::downsample::Downsample;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;

/// Where a value has rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpatialLayout {
    /// Rows and columns are these two axes.
    FeatureMap([usize; 2]),
    /// Rows and columns are flattened, row by row, into one axis from index `first` on: the tokens
    /// of a vision transformer, after those that stand for no position (class token, registers).
    Tokens { axis: usize, first: usize, rows: usize, columns: usize },
}

impl SpatialLayout {
    /// The value of one picture as `[channels, rows, columns]`; the non-spatial axes are flattened
    /// into channels. A view where the strides allow it.
    pub(crate) fn channels_first(
        self,
        values: ArrayViewD<'_, f32>,
    ) -> Result<CowArray<'_, f32, Ix3>, Error> {
        let malformed = |error: ndarray::ShapeError| Error::Failed(error.to_string());
        let (last, [rows, columns], mut values) = match self {
            SpatialLayout::FeatureMap([row, column]) => {
                let lengths = [values.len_of(Axis(row)), values.len_of(Axis(column))];
                (vec![row, column], lengths, values)
            }
            SpatialLayout::Tokens { axis, first, rows, columns } => {
                let mut tokens = values;
                let slice = AxisSlice::from(first..first + rows * columns);
                tokens.slice_axis_inplace(Axis(axis), slice);
                (vec![axis], [rows, columns], tokens)
            }
        };
        let others = (0..values.ndim()).filter(|axis| !last.contains(axis));
        let order: Vec<usize> = others.chain(last.iter().copied()).collect();
        values = values.permuted_axes(order);
        while values.ndim() > 1 + last.len()
            && let Some(axis) =
                (0..values.ndim() - last.len()).find(|&axis| values.len_of(Axis(axis)) == 1)
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

    /// Sets one channel, as [`SpatialLayout::channels_first`] numbers them, to zero everywhere.
    pub(crate) fn zero_channel(self, value: &mut ArrayD<f32>, channel: usize) {
        let spatial = match self {
            SpatialLayout::FeatureMap(axes) => axes.to_vec(),
            SpatialLayout::Tokens { axis, .. } => vec![axis],
        };
        let mut view = value.view_mut();
        let mut rest = channel;
        // The channel's index along each non-spatial axis, fastest axis first.
        for axis in (0..view.ndim()).rev().filter(|axis| !spatial.contains(axis)) {
            let length = view.len_of(Axis(axis));
            let index = rest % length;
            view.slice_axis_inplace(Axis(axis), AxisSlice::from(index..index + 1));
            rest /= length;
        }
        view.fill(0.0);
    }
}

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
    match layout {
        SpatialLayout::FeatureMap(axes) => {
            if let Some(AxisOp::Reshape(at, from, to)) = node.op_as::<AxisOp>()
                && let [Ok(rows), Ok(columns)] =
                    from.iter().map(|dim| dim.to_usize()).collect::<Vec<_>>()[..]
                && axes == [*at, at + 1]
                && to.len() == 1
            {
                return Ok(Some(SpatialLayout::Tokens { axis: *at, first: 0, rows, columns }));
            }
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
            if keeps_axes(node) {
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
        return Ok((slot == 0 && pool.rank() == 2).then_some([first, first + 1]));
    }
    if keeps_axes(node) {
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
    let (inputs, outputs) = model.node_facts(node.id)?;
    let mapping = node.op.axes_mapping(&inputs, &outputs)?;
    mapping.track_axis((InOut::In(slot), axis), InOut::Out(0))
}

/// Operators whose output has the axes of their inputs.
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

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array;
    use tract_onnx::tract_core::ops::TypedOp;
    use tract_onnx::tract_core::ops::math;
    use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};

    const TOKENS: SpatialLayout = SpatialLayout::Tokens { axis: 1, first: 1, rows: 2, columns: 3 };

    #[test]
    fn channels_come_first_whatever_the_axes() {
        // `[batch, rows, columns, channels]` and `[batch, tokens, channels]`, a class token in front.
        let map =
            Array::from_shape_fn(vec![1, 2, 3, 4], |i| (i[3] * 100 + i[1] * 10 + i[2]) as f32);
        let tokens = Array::from_shape_fn(vec![1, 7, 4], |i| {
            // The class token gets the value of the first position.
            let position = i[1].saturating_sub(1);
            (i[2] * 100 + position / 3 * 10 + position % 3) as f32
        });
        for (layout, value) in [(SpatialLayout::FeatureMap([1, 2]), map), (TOKENS, tokens)] {
            let found = layout.channels_first(value.view()).unwrap();
            assert_eq!(found.dim(), (4, 2, 3), "{layout:?}");
            for ((channel, row, column), value) in found.indexed_iter() {
                assert_eq!(*value, (channel * 100 + row * 10 + column) as f32, "{layout:?}");
            }
        }
    }

    #[test]
    fn a_zeroed_channel_is_that_of_channels_first() {
        for (layout, shape) in [
            (SpatialLayout::FeatureMap([2, 3]), vec![1, 4, 2, 3]),
            (SpatialLayout::FeatureMap([1, 2]), vec![1, 2, 3, 4]),
            (SpatialLayout::FeatureMap([1, 3]), vec![2, 2, 2, 3]),
            (TOKENS, vec![1, 7, 4]),
        ] {
            for channel in 0..4 {
                let mut value = ArrayD::<f32>::ones(shape.clone());
                layout.zero_channel(&mut value, channel);
                let found = layout.channels_first(value.view()).unwrap();
                for (number, values) in found.outer_iter().enumerate() {
                    let expected = if number == channel { 0.0 } else { 1.0 };
                    assert!(values.iter().all(|&v| v == expected), "{layout:?} {channel}");
                }
            }
        }
    }

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
}
