//! Axes renamed, sections, repetition and concatenation of values that are held as 8-bit numbers.

use super::{Target, requantized};
use crate::lower::builder::Builder;
use crate::lower::layout::{growing, joining, renamed_order, repetition, section};
use crate::lower::value::{Held, Value};
use crate::program::Element;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::AxisOp;
use tract_onnx::tract_core::ops::array::{MultiBroadcastTo, TypedConcat};

pub(super) fn lower(builder: &mut Builder<'_>, node: &TypedNode) -> TractResult<bool> {
    let outlet: OutletId = node.id.into();
    if node.outputs.len() != 1 || node.inputs.is_empty() {
        return Ok(false);
    }
    let Some(held) = builder.held(node.inputs[0]).cloned() else { return Ok(false) };
    if let Some(change) = node.op_as::<AxisOp>() {
        let rank = builder.shape(outlet)?.len();
        let Some(order) = renamed_order(&held.value, change, rank) else { return Ok(false) };
        let value = Value { order, ..held.value.clone() };
        builder.set_held(outlet, Held { value, ..held })?;
        return Ok(true);
    }
    if let Some(section) = section(builder, node)? {
        let (copy, length) = section.copy(&held.value, Element::U8);
        let buffer = builder.push_new_bytes(copy, length);
        let value = Value { buffer, ..held.value.clone() };
        builder.set_held(outlet, Held { value, ..held })?;
        return Ok(true);
    }
    if let Some(broadcast) = node.op_as::<MultiBroadcastTo>() {
        return repeated(builder, outlet, broadcast, held);
    }
    let Some(concat) = node.op_as::<TypedConcat>() else { return Ok(false) };
    let parts = node.inputs.iter().map(|&input| builder.held(input).cloned());
    let Some(parts) = parts.collect::<Option<Vec<Held>>>() else { return Ok(false) };
    if !parts.iter().all(|part| part.is_like(&held)) {
        return Ok(false);
    }
    let Some(joined) = joined(builder, outlet, concat.axis, &parts)? else { return Ok(false) };
    builder.set_held(outlet, joined)?;
    Ok(true)
}

/// Broadcast: numbers repeated along axes, as a `Resize` to the nearest pixel repeats them.
fn repeated(
    builder: &mut Builder<'_>,
    outlet: OutletId,
    broadcast: &MultiBroadcastTo,
    held: Held,
) -> TractResult<bool> {
    let Some(shape) = broadcast.shape.as_concrete() else { return Ok(false) };
    let Some(value) = growing(held.value.clone(), shape) else { return Ok(false) };
    let Some(copies) = repetition(&value, shape, Element::U8) else { return Ok(false) };
    let output = builder.program.add_buffer_of(Element::U8, shape.iter().product());
    for copy in copies {
        builder.push(copy, output);
    }
    let value = Value { buffer: output, shape: shape.to_vec(), order: value.order };
    builder.set_held(outlet, Held { value, ..held })?;
    Ok(true)
}

/// A concatenation of values with scales of their own, each of them requantised.
pub(super) fn concatenated(
    builder: &mut Builder<'_>,
    outlet: OutletId,
    target: &Target,
) -> TractResult<Option<Held>> {
    let node = builder.model.node(outlet.node);
    let Some(concat) = node.op_as::<TypedConcat>() else { return Ok(None) };
    if node.inputs.iter().any(|&input| builder.held(input).is_none()) {
        return Ok(None);
    }
    let parts = node.inputs.iter().map(|&input| requantized(builder, input, target));
    let Some(parts) = parts.collect::<TractResult<Option<Vec<Held>>>>()? else { return Ok(None) };
    joined(builder, outlet, concat.axis, &parts)
}

/// Values that are held in one way, one after the other; `None` where their axes lie in different
/// orders.
fn joined(
    builder: &mut Builder<'_>,
    outlet: OutletId,
    axis: usize,
    parts: &[Held],
) -> TractResult<Option<Held>> {
    let Some(largest) = parts.iter().max_by_key(|part| part.value.len()) else { return Ok(None) };
    let order = &largest.value.order;
    let in_order = |part: &Held| Some(part.in_order(order.clone())?.value);
    let Some(values) = parts.iter().map(in_order).collect::<Option<Vec<Value>>>() else {
        return Ok(None);
    };
    let shape = builder.shape(outlet)?;
    let output = builder.program.add_buffer_of(Element::U8, shape.iter().product());
    for copy in joining(&values, &shape, axis, Element::U8) {
        builder.push(copy, output);
    }
    let value = Value { buffer: output, shape, order: order.clone() };
    Ok(Some(Held { value, ..largest.clone() }))
}
