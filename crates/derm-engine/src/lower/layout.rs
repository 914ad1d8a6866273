//! Axes renamed, values cut and joined.

use super::Lowering;
use crate::step::{Action, Operand};
use crate::value::{Value, completed, plain};
use derm_kernels::{BinaryOp, BroadcastAxis};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{AxisOp, DimLike};
use tract_onnx::tract_core::ops::array::{MultiBroadcastTo, Pad, PadMode, Slice, TypedConcat};
use tract_onnx::tract_core::ops::downsample::Downsample;

pub(super) fn lower(lowering: &mut Lowering<'_>, node: &TypedNode) -> TractResult<bool> {
    if !lowering.is_float(node.id.into())? {
        return Ok(false);
    }
    if let Some(change) = node.op_as::<AxisOp>() {
        return renamed(lowering, node, change);
    }
    if let Some(concat) = node.op_as::<TypedConcat>() {
        return joined(lowering, node, concat.axis);
    }
    if let Some(slice) = node.op_as::<Slice>() {
        let (Ok(start), Ok(end)) = (slice.start.to_usize(), slice.end.to_usize()) else {
            return Ok(false);
        };
        return picked(lowering, node, slice.axis, start, 1, end - start);
    }
    if let Some(down) = node.op_as::<Downsample>() {
        let Ok(stride) = usize::try_from(down.stride) else { return Ok(false) };
        let count = lowering.shape(node.id.into())?[down.axis];
        return picked(lowering, node, down.axis, down.modulo, stride, count);
    }
    if let Some(broadcast) = node.op_as::<MultiBroadcastTo>() {
        return stretched(lowering, node, broadcast);
    }
    if let Some(pad) = node.op_as::<Pad>() {
        let PadMode::Constant(value) = &pad.mode else { return Ok(false) };
        return padded(lowering, node, &pad.pads, value.cast_to_scalar::<f32>()?);
    }
    Ok(false)
}

fn renamed(lowering: &mut Lowering<'_>, node: &TypedNode, change: &AxisOp) -> TractResult<bool> {
    let outlet: OutletId = node.id.into();
    let value = lowering.value(node.inputs[0])?;
    let rank = lowering.shape(outlet)?.len();
    let order: Vec<usize> = match change {
        AxisOp::Add(new) => {
            let kept = value.order.iter().map(|&axis| axis + usize::from(axis >= *new));
            completed(rank, &kept.collect::<Vec<_>>())
        }
        AxisOp::Rm(gone) => value
            .order
            .iter()
            .filter(|axis| *axis != gone)
            .map(|&axis| axis - usize::from(axis > *gone))
            .collect(),
        AxisOp::Move(from, to) => {
            let mut names = plain(rank);
            let moved = names.remove(*from);
            names.insert(*to, moved);
            // names[new] is the old axis.
            let new_of = |old: &usize| names.iter().position(|name| name == old);
            value.order.iter().filter_map(new_of).collect()
        }
        AxisOp::Reshape(at, from, to) => {
            let (at, gone, new) = (*at, from.len(), to.len());
            return reshaped(lowering, outlet, value, at, gone, new);
        }
    };
    lowering.set(outlet, value.buffer, order, value.open)?;
    Ok(true)
}

/// Axes `at..at + gone` become `new` others that hold the same numbers in the same order.
fn reshaped(
    lowering: &mut Lowering<'_>,
    outlet: OutletId,
    value: Value,
    at: usize,
    gone: usize,
    new: usize,
) -> TractResult<bool> {
    let is_gone = |axis: &usize| (at..at + gone).contains(axis);
    let lying = value.significant();
    let first = lying.iter().position(is_gone).unwrap_or(lying.len());
    let group: Vec<usize> = lying[first..].iter().copied().take_while(is_gone).collect();
    let all_together = lying.iter().filter(|axis| is_gone(axis)).count() == group.len();
    let value = if all_together && group.is_sorted() {
        value
    } else {
        let others: Vec<usize> = lying.iter().copied().filter(|axis| !is_gone(axis)).collect();
        let before = others.iter().take_while(|&&axis| axis < at).count();
        let mut order = others;
        order.splice(before..before, at..at + gone);
        let order = completed(value.shape.len(), &order);
        lowering.in_order(value, order)
    };
    let rank = value.shape.len() - gone + new;
    let mut order = Vec::new();
    let mut placed = false;
    for axis in value.significant() {
        if is_gone(&axis) {
            if !placed {
                order.extend(at..at + new);
                placed = true;
            }
        } else {
            order.push(if axis < at { axis } else { axis - gone + new });
        }
    }
    let order = completed(rank, &order);
    lowering.set(outlet, value.buffer, order, value.open)?;
    Ok(true)
}

/// Places before an axis, as the value lies, on it, and after it.
fn around(value: &Value, axis: usize) -> [usize; 3] {
    let place = value.order.iter().position(|&a| a == axis).unwrap_or(0);
    let sides = value.physical();
    [sides[..place].iter().product(), sides[place], sides[place + 1..].iter().product()]
}

/// `count` places along an axis, every `stride`th from `start`.
fn picked(
    lowering: &mut Lowering<'_>,
    node: &TypedNode,
    axis: usize,
    start: usize,
    stride: usize,
    count: usize,
) -> TractResult<bool> {
    let value = lowering.value(node.inputs[0])?;
    let [outer, length, inner] = around(&value, axis);
    let input = Operand::Buffer(value.buffer);
    let (sides, from, to) = if stride == 1 {
        ([outer, 1, count * inner], [length * inner, 0], [count * inner, 0])
    } else {
        ([outer, count, inner], [length * inner, stride * inner], [count * inner, inner])
    };
    let action = Action::Copy { input, sides, from: (start * inner, from), to: (0, to) };
    let (step, buffer) = lowering.push_new(action, outer * count * inner);
    lowering.set(node.id.into(), buffer, value.order, Some(step))?;
    Ok(true)
}

fn joined(lowering: &mut Lowering<'_>, node: &TypedNode, axis: usize) -> TractResult<bool> {
    let outlet: OutletId = node.id.into();
    let values = node
        .inputs
        .iter()
        .map(|&input| lowering.value(input))
        .collect::<TractResult<Vec<Value>>>()?;
    let largest = values.iter().max_by_key(|value| value.len());
    let Some(order) = largest.map(|value| value.order.clone()) else { return Ok(false) };
    let shape = lowering.shape(outlet)?;
    let whole = Value { buffer: 0, shape, order: order.clone(), open: None };
    let [outer, total, inner] = around(&whole, axis);
    let output = lowering.buffer(whole.len());
    let mut start = 0;
    for value in values {
        let value = lowering.in_order(value, order.clone());
        let count = value.shape[axis];
        let chunk = count * inner;
        let input = Operand::Buffer(value.buffer);
        let to = (start * inner, [total * inner, 0]);
        lowering.push(
            Action::Copy { input, sides: [outer, 1, chunk], from: (0, [chunk, 0]), to },
            output,
        );
        start += count;
    }
    lowering.set(outlet, output, order, None)?;
    Ok(true)
}

/// Axes of one place repeated: nothing is added to the value, over the larger shape.
fn stretched(
    lowering: &mut Lowering<'_>,
    node: &TypedNode,
    broadcast: &MultiBroadcastTo,
) -> TractResult<bool> {
    let outlet: OutletId = node.id.into();
    let value = lowering.value(node.inputs[0])?;
    let Some(shape) = broadcast.shape.as_concrete() else { return Ok(false) };
    if shape.len() != value.shape.len() {
        return Ok(false);
    }
    let mut axes = Vec::new();
    let mut step = 1;
    for &axis in value.order.iter().rev() {
        let left = if value.shape[axis] == 1 { 0 } else { step };
        step *= value.shape[axis];
        axes.push(BroadcastAxis { length: shape[axis], left, right: 0 });
    }
    axes.reverse();
    let (left, right) = (Operand::Buffer(value.buffer), Operand::Constant([0.0].into()));
    let action = Action::Binary { op: BinaryOp::Add, axes, left, right };
    let (step, buffer) = lowering.push_new(action, shape.iter().product());
    lowering.set(outlet, buffer, value.order, Some(step))?;
    Ok(true)
}

/// A frame of `fill` around the value; at most two axes that lie one after the other may grow.
fn padded(
    lowering: &mut Lowering<'_>,
    node: &TypedNode,
    pads: &[(usize, usize)],
    fill: f32,
) -> TractResult<bool> {
    let outlet: OutletId = node.id.into();
    let value = lowering.value(node.inputs[0])?;
    let order = value.order.clone();
    let grows = |&place: &usize| pads[order[place]] != (0, 0);
    let growing: Vec<usize> = (0..order.len()).filter(grows).collect();
    let (Some(&first), Some(&last)) = (growing.first(), growing.last()) else { return Ok(false) };
    if last - first > 1 {
        return Ok(false);
    }
    let small = value.physical();
    let large =
        Value { buffer: 0, shape: lowering.shape(outlet)?, order: order.clone(), open: None };
    let sides = large.physical();
    if sides[..first].iter().product::<usize>() != 1 {
        return Ok(false);
    }
    // [first, last, chunk] when two axes grow, [1, first, chunk] when one does.
    let inner: usize = sides[last + 1..].iter().product();
    let before = |place: usize| pads[order[place]].0;
    let (copied, from, to, start) = if first == last {
        ([1, 1, small[last] * inner], [0, 0], [0, 0], before(last) * inner)
    } else {
        let row = sides[last] * inner;
        let start = before(first) * row + before(last) * inner;
        ([small[first], 1, small[last] * inner], [small[last] * inner, 0], [row, 0], start)
    };
    let output = lowering.buffer(large.len());
    lowering.push(Action::Fill { value: fill }, output);
    let input = Operand::Buffer(value.buffer);
    let step = lowering
        .push(Action::Copy { input, sides: copied, from: (0, from), to: (start, to) }, output);
    lowering.set(outlet, output, order, Some(step))?;
    Ok(true)
}
