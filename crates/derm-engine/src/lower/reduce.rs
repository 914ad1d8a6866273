//! Sums, softmax and normalisation along axes.

use super::Lowering;
use crate::step::Action;
use crate::value::Value;
use derm_kernels::Reduction;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, RmsNorm, Softmax, SoftmaxKind};

pub(super) fn lower(lowering: &mut Lowering<'_>, node: &TypedNode) -> TractResult<bool> {
    let outlet: OutletId = node.id.into();
    if !lowering.is_float(outlet)? {
        return Ok(false);
    }
    if let Some(reduce) = node.op_as::<Reduce>() {
        let reduction = match reduce.reducer {
            Reducer::Sum => Reduction::Sum,
            Reducer::Max => Reduction::Max,
            Reducer::MeanOfSquares => Reduction::MeanOfSquares,
            _ => return Ok(false),
        };
        return reduced(lowering, node, reduction, &reduce.axes);
    }
    if let Some(softmax) = node.op_as::<Softmax>() {
        if softmax.kind != SoftmaxKind::Softmax || softmax.quant_output_dt.is_some() {
            return Ok(false);
        }
        let (value, width) = rows(lowering, node.inputs[0], &softmax.axes)?;
        let action = Action::Softmax { width, input: value.buffer };
        return along_rows(lowering, outlet, &value, action);
    }
    if let Some(norm) = node.op_as::<RmsNorm>() {
        let epsilon = norm.eps.cast_to_scalar::<f32>()?;
        let (value, width) = rows(lowering, node.inputs[0], &[norm.axis])?;
        let action = Action::RmsNorm { width, epsilon, input: value.buffer };
        return along_rows(lowering, outlet, &value, action);
    }
    Ok(false)
}

/// The value with `axes` at the end, and how many places they have.
fn rows(
    lowering: &mut Lowering<'_>,
    outlet: OutletId,
    axes: &[usize],
) -> TractResult<(Value, usize)> {
    let value = lowering.value(outlet)?;
    let width = axes.iter().map(|&axis| value.shape[axis]).product();
    let value = if value.ends_with(axes) { value } else { lowering.with_last(value, axes) };
    Ok((value, width))
}

fn along_rows(
    lowering: &mut Lowering<'_>,
    outlet: OutletId,
    value: &Value,
    action: Action,
) -> TractResult<bool> {
    let (step, buffer) = lowering.push_new(action, value.len());
    lowering.set(outlet, buffer, value.order.clone(), Some(step))?;
    Ok(true)
}

fn reduced(
    lowering: &mut Lowering<'_>,
    node: &TypedNode,
    reduction: Reduction,
    axes: &[usize],
) -> TractResult<bool> {
    let mut value = lowering.value(node.inputs[0])?;
    let is_reduced = |axis: &usize| axes.contains(axis);
    let span = |value: &Value| {
        let order = value.significant();
        let first = order.iter().position(is_reduced).unwrap_or(order.len());
        let count = order.iter().filter(|axis| is_reduced(axis)).count();
        let together = order[first..].iter().take(count).all(is_reduced);
        together.then_some((order, first, first + count))
    };
    if span(&value).is_none() {
        value = lowering.with_last(value, axes);
    }
    let Some((order, first, end)) = span(&value) else { return Ok(false) };
    let product = |axes: &[usize]| axes.iter().map(|&axis| value.shape[axis]).product::<usize>();
    let sides = [product(&order[..first]), product(&order[first..end]), product(&order[end..])];
    let action = Action::Reduce { reduction, sides, input: value.buffer };
    let (step, buffer) = lowering.push_new(action, sides[0] * sides[2]);
    lowering.set(node.id.into(), buffer, value.order.clone(), Some(step))?;
    Ok(true)
}
