//! Layout: axes renamed, slices and concatenation.

use super::builder::Builder;
use super::value::{Value, completed, graph_order, physical};
use crate::program::{Binary, Copy, Element, Operand, Strided};
use derm_kernels::{BinaryOp, BroadcastAxis};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{AxisOp, DimLike};
use tract_onnx::tract_core::ops::array::{MultiBroadcastTo, Slice, TypedConcat};
use tract_onnx::tract_core::ops::downsample::Downsample;

pub(super) fn lower(builder: &mut Builder<'_>, node: &TypedNode) -> TractResult<bool> {
    if !builder.is_float(node.id.into())? {
        return Ok(false);
    }
    if let Some(change) = node.op_as::<AxisOp>() {
        return renamed(builder, node, change);
    }
    if let Some(concat) = node.op_as::<TypedConcat>() {
        return concatenated(builder, node, concat.axis);
    }
    if let Some(section) = section(builder, node)? {
        let value = builder.value(node.inputs[0])?;
        let (copy, length) = section.copy(&value, Element::F32);
        let buffer = builder.push_new(copy, length);
        builder.set(node.id.into(), buffer, value.order)?;
        return Ok(true);
    }
    if let Some(broadcast) = node.op_as::<MultiBroadcastTo>() {
        return broadcast_to(builder, node, broadcast);
    }
    Ok(false)
}

fn renamed(builder: &mut Builder<'_>, node: &TypedNode, change: &AxisOp) -> TractResult<bool> {
    let outlet: OutletId = node.id.into();
    let value = builder.value(node.inputs[0])?;
    let rank = builder.shape(outlet)?.len();
    let (value, order) = match renamed_order(&value, change, rank) {
        Some(order) => (value, order),
        None => {
            let AxisOp::Reshape(at, from, _) = change else { return Ok(false) };
            let order = lying_together(&value, *at, from.len());
            let value = builder.in_order(value, order);
            let Some(order) = renamed_order(&value, change, rank) else { return Ok(false) };
            (value, order)
        }
    };
    builder.set(outlet, value.buffer, order)?;
    Ok(true)
}

/// The order of the new axes in memory; `None` where the numbers have to move first.
pub(super) fn renamed_order(value: &Value, change: &AxisOp, rank: usize) -> Option<Vec<usize>> {
    Some(match change {
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
            let mut names = graph_order(rank);
            let moved = names.remove(*from);
            names.insert(*to, moved);
            // names[new] is the old axis.
            let new_of = |old: &usize| names.iter().position(|name| name == old);
            value.order.iter().filter_map(new_of).collect()
        }
        AxisOp::Reshape(at, from, to) => return reshaped_order(value, *at, from.len(), to.len()),
    })
}

/// Axes `at..at + gone` become `new` others that hold the same numbers in the same order: `None` where
/// they do not lie one after the other.
fn reshaped_order(value: &Value, at: usize, gone: usize, new: usize) -> Option<Vec<usize>> {
    let is_gone = |axis: &usize| (at..at + gone).contains(axis);
    let lying = value.significant();
    let first = lying.iter().position(is_gone).unwrap_or(lying.len());
    let group: Vec<usize> = lying[first..].iter().copied().take_while(is_gone).collect();
    let all_together = lying.iter().filter(|axis| is_gone(axis)).count() == group.len();
    if !all_together || !group.is_sorted() {
        return None;
    }
    let rank = value.shape.len() - gone + new;
    let mut order = Vec::new();
    let mut placed = false;
    for axis in lying {
        if is_gone(&axis) {
            if !placed {
                order.extend(at..at + new);
                placed = true;
            }
        } else {
            order.push(if axis < at { axis } else { axis - gone + new });
        }
    }
    Some(completed(rank, &order))
}

/// An order in which the axes `at..at + gone` lie one after the other, between those before and after.
fn lying_together(value: &Value, at: usize, gone: usize) -> Vec<usize> {
    let is_gone = |axis: &usize| (at..at + gone).contains(axis);
    let mut order: Vec<usize> =
        value.significant().into_iter().filter(|axis| !is_gone(axis)).collect();
    let before = order.iter().take_while(|&&axis| axis < at).count();
    order.splice(before..before, at..at + gone);
    completed(value.shape.len(), &order)
}

/// `[outer, axis, inner]`: elements before an axis, as the value lies, on it, and after it.
fn around(shape: &[usize], order: &[usize], axis: usize) -> [usize; 3] {
    let index = order.iter().position(|&a| a == axis).unwrap_or(0);
    let shape = physical(shape, order);
    [shape[..index].iter().product(), shape[index], shape[index + 1..].iter().product()]
}

/// `count` indices of an axis, every `stride`th from `start`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section {
    axis: usize,
    start: usize,
    stride: usize,
    count: usize,
}

/// The section that a node takes; `None` of another operator.
pub(super) fn section(builder: &Builder<'_>, node: &TypedNode) -> TractResult<Option<Section>> {
    if let Some(slice) = node.op_as::<Slice>() {
        let (Ok(start), Ok(end)) = (slice.start.to_usize(), slice.end.to_usize()) else {
            return Ok(None);
        };
        return Ok(Some(Section { axis: slice.axis, start, stride: 1, count: end - start }));
    }
    let Some(down) = node.op_as::<Downsample>() else { return Ok(None) };
    let Ok(stride) = usize::try_from(down.stride) else { return Ok(None) };
    let count = builder.shape(node.id.into())?[down.axis];
    Ok(Some(Section { axis: down.axis, start: down.modulo, stride, count }))
}

impl Section {
    /// The copy that takes it of a value, and how many numbers it copies.
    pub(super) fn copy(&self, value: &Value, element: Element) -> (Copy, usize) {
        let Section { axis, start, stride, count } = *self;
        let [outer, length, inner] = around(&value.shape, &value.order, axis);
        let (blocks, from, to) = if stride == 1 {
            ([outer, 1, count * inner], [length * inner, 0], [count * inner, 0])
        } else {
            ([outer, count, inner], [length * inner, stride * inner], [count * inner, inner])
        };
        let from = Strided { start: start * inner, strides: from };
        let to = Strided { start: 0, strides: to };
        let input = Operand::Buffer(value.buffer);
        (Copy { input, element, blocks, from, to }, outer * count * inner)
    }
}

/// The copies that put values, whose axes lie in one order, one after the other along an axis of
/// `shape`.
pub(super) fn joining(
    values: &[Value],
    shape: &[usize],
    axis: usize,
    element: Element,
) -> Vec<Copy> {
    let Some(first) = values.first() else { return Vec::new() };
    let [outer, total, inner] = around(shape, &first.order, axis);
    let mut start = 0;
    let each = values.iter().map(|value| {
        let block = value.shape[axis] * inner;
        let from = Strided { start: 0, strides: [block, 0] };
        let to = Strided { start: start * inner, strides: [total * inner, 0] };
        start += value.shape[axis];
        let input = Operand::Buffer(value.buffer);
        Copy { input, element, blocks: [outer, 1, block], from, to }
    });
    each.collect()
}

/// Copies of one value, at most: more are slower than what reads each number where it is needed.
const MAX_COPIES: usize = 16;

/// Repetition: the copies that repeat a value along its axes of length 1, as long as `shape` makes them: one for each repetition. `None`
/// where these are more than two axes, or too many copies.
pub(super) fn repetition(value: &Value, shape: &[usize], element: Element) -> Option<Vec<Copy>> {
    let mut counts = [1; 2];
    // Numbers before the first repeated axis, between the two, and after the second.
    let mut parts = [1; 3];
    let mut found = 0;
    for &axis in &value.order {
        if shape[axis] == value.shape[axis] {
            parts[found] *= shape[axis];
        } else {
            *counts.get_mut(found)? = shape[axis];
            found += 1;
        }
    }
    let [before, between, after] = parts;
    let [outer, inner] = counts;
    if outer.checked_mul(inner)? > MAX_COPIES {
        return None;
    }
    let strides = [between * after, after];
    let from = Strided { start: 0, strides };
    let to = [outer * between * inner * after, inner * after];
    let copies = (0..outer).flat_map(|i| (0..inner).map(move |j| (i, j))).map(|(i, j)| Copy {
        input: Operand::Buffer(value.buffer),
        element,
        blocks: [before, between, after],
        from,
        to: Strided { start: (i * between * inner + j) * after, strides: to },
    });
    Some(copies.collect())
}

fn concatenated(builder: &mut Builder<'_>, node: &TypedNode, axis: usize) -> TractResult<bool> {
    let outlet: OutletId = node.id.into();
    let values = node
        .inputs
        .iter()
        .map(|&input| builder.value(input))
        .collect::<TractResult<Vec<Value>>>()?;
    let largest = values.iter().max_by_key(|value| value.len());
    let Some(order) = largest.map(|value| value.order.clone()) else { return Ok(false) };
    let shape = builder.shape(outlet)?;
    let output = builder.program.add_buffer(shape.iter().product());
    let in_order = |value| builder.in_order(value, order.clone());
    let values: Vec<Value> = values.into_iter().map(in_order).collect();
    for copy in joining(&values, &shape, axis, Element::F32) {
        builder.push(copy, output);
    }
    builder.set(outlet, output, order)?;
    Ok(true)
}

/// Order of axes for a broadcast: the value with each axis that becomes longer after the axis before it: a reshape that joins the two, as in a
/// `Resize` to the nearest pixel, then moves nothing. `None` where the ranks differ.
pub(super) fn growing(value: Value, shape: &[usize]) -> Option<Value> {
    if shape.len() != value.shape.len() {
        return None;
    }
    let grows = |axis: &usize| shape[*axis] != value.shape[*axis];
    let mut order: Vec<usize> = value.order.iter().copied().filter(|axis| !grows(axis)).collect();
    for axis in (0..shape.len()).filter(grows) {
        let before = order.iter().position(|&other| other + 1 == axis);
        order.insert(before.map_or(0, |before| before + 1), axis);
    }
    Some(Value { order, ..value })
}

/// Broadcast: zero is added to the value, over the larger shape.
fn broadcast_to(
    builder: &mut Builder<'_>,
    node: &TypedNode,
    broadcast: &MultiBroadcastTo,
) -> TractResult<bool> {
    let outlet: OutletId = node.id.into();
    let Some(shape) = broadcast.shape.as_concrete() else { return Ok(false) };
    let Some(value) = growing(builder.value(node.inputs[0])?, shape) else { return Ok(false) };
    let mut axes = Vec::new();
    let mut step = 1;
    for &axis in value.order.iter().rev() {
        let left = if value.shape[axis] == 1 { 0 } else { step };
        step *= value.shape[axis];
        axes.push(BroadcastAxis { length: shape[axis], left, right: 0 });
    }
    axes.reverse();
    let (left, right) = (Operand::Buffer(value.buffer), Operand::Constant([0.0].into()));
    let broadcast = Binary { op: BinaryOp::Add, axes, left, right };
    let buffer = builder.push_new(broadcast, shape.iter().product());
    builder.set(outlet, buffer, value.order)?;
    Ok(true)
}
