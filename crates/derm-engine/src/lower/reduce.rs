//! Reductions, softmax and normalisation along axes.

use super::builder::Builder;
use super::value::Value;
use crate::graph_ops::FakeQuantize;
use crate::program::{Reduce as ReduceStep, RowFunction, Rows};
use derm_kernels::Reduction;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::ensure;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, RmsNorm, Softmax, SoftmaxKind};

pub(super) fn lower(builder: &mut Builder<'_>, node: &TypedNode) -> TractResult<bool> {
    let outlet: OutletId = node.id.into();
    if !builder.is_float(outlet)? {
        return Ok(false);
    }
    if let Some(reduce) = node.op_as::<Reduce>() {
        let reduction = match reduce.reducer {
            Reducer::Sum => Reduction::Sum,
            Reducer::Max => Reduction::Max,
            Reducer::MeanOfSquares => Reduction::MeanOfSquares,
            _ => return Ok(false),
        };
        return reduced(builder, node, reduction, &reduce.axes);
    }
    if node.op_is::<FakeQuantize>() {
        let value = builder.value(node.inputs[0])?;
        return along_rows(builder, outlet, &value, RowFunction::FakeQuantize);
    }
    if let Some(softmax) = node.op_as::<Softmax>() {
        if softmax.kind != SoftmaxKind::Softmax || softmax.quant_output_dt.is_some() {
            return Ok(false);
        }
        let (value, width) = rows(builder, node.inputs[0], &softmax.axes)?;
        return along_rows(builder, outlet, &value, RowFunction::Softmax { width });
    }
    if let Some(norm) = node.op_as::<RmsNorm>() {
        let epsilon = norm.eps.cast_to_scalar::<f32>()?;
        let (value, width) = rows(builder, node.inputs[0], &[norm.axis])?;
        return along_rows(builder, outlet, &value, RowFunction::RmsNorm { width, epsilon });
    }
    Ok(false)
}

/// The value with `axes` at the end, and how many elements they span.
fn rows(
    builder: &mut Builder<'_>,
    outlet: OutletId,
    axes: &[usize],
) -> TractResult<(Value, usize)> {
    let value = builder.value(outlet)?;
    let rank = value.shape.len();
    // tract takes any number for an axis of a softmax.
    ensure!(axes.iter().all(|&axis| axis < rank), "axes {axes:?} of {rank}");
    let width = axes.iter().map(|&axis| value.shape[axis]).product();
    let value = if value.ends_with(axes) { value } else { builder.with_last(value, axes) };
    Ok((value, width))
}

fn along_rows(
    builder: &mut Builder<'_>,
    outlet: OutletId,
    value: &Value,
    function: RowFunction,
) -> TractResult<bool> {
    let buffer = builder.push_new(Rows { function, input: value.buffer }, value.len());
    builder.set(outlet, buffer, value.order.clone())?;
    Ok(true)
}

fn reduced(
    builder: &mut Builder<'_>,
    node: &TypedNode,
    reduction: Reduction,
    axes: &[usize],
) -> TractResult<bool> {
    let mut value = builder.value(node.inputs[0])?;
    let is_reduced = |axis: &usize| axes.contains(axis);
    let span = |value: &Value| {
        let order = value.significant();
        let first = order.iter().position(is_reduced).unwrap_or(order.len());
        let count = order.iter().filter(|axis| is_reduced(axis)).count();
        let together = order[first..].iter().take(count).all(is_reduced);
        together.then_some((order, first, first + count))
    };
    if span(&value).is_none() {
        value = builder.with_last(value, axes);
    }
    let Some((order, first, end)) = span(&value) else { return Ok(false) };
    let product = |axes: &[usize]| axes.iter().map(|&axis| value.shape[axis]).product::<usize>();
    let shape = [product(&order[..first]), product(&order[first..end]), product(&order[end..])];
    let step = ReduceStep { reduction, shape, input: value.buffer };
    let buffer = builder.push_new(step, shape[0] * shape[2]);
    builder.set(node.id.into(), buffer, value.order.clone())?;
    Ok(true)
}
