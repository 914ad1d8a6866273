//! Gradients of the operators that have a gradient operator of their own (`graph_ops`).

use super::builder::{Builder, Packed};
use super::conv;
use super::op;
use super::pool::{axes, channels_last, sum_pooling};
use super::unary::function;
use crate::graph_ops::{ConvInputGradient, Derivative, Pool, PoolInputGradient, Relation, Where};
use crate::program::{Derivative as DerivativeStep, PoolGradient};
use crate::weights::WeightOffsets;
use derm_kernels::{ConvGeometry, PoolGeometry, Pooling, Unary};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cnn::conv::KernelFormat;

pub(super) fn lower(builder: &mut Builder<'_>, node: &TypedNode) -> TractResult<bool> {
    if node.op_is::<ConvInputGradient>() {
        return convolution(builder, node);
    }
    if let Some(derivative) = node.op_as::<Derivative>() {
        let Some(function) = function(derivative.0.0.as_ref()) else { return Ok(false) };
        return multiplied_by_derivative(builder, node, function, node.inputs[1]);
    }
    if let Some(Where(Relation::Larger)) = node.op_as::<Where>() {
        return where_larger(builder, node);
    }
    if node.op_is::<PoolInputGradient>() {
        return pooling(builder, node);
    }
    Ok(false)
}

fn convolution(builder: &mut Builder<'_>, node: &TypedNode) -> TractResult<bool> {
    let ConvInputGradient { conv, input_shape } = op(node)?;
    let spec = &conv.pool_spec;
    let input = spec.data_format.shape(input_shape.clone())?;
    let Some(axes) = axes(spec, input.hw_dims())? else { return Ok(false) };
    if input.n().is_some_and(|&n| n != 1) {
        return Ok(false);
    }
    let (inputs, outputs, groups) = (spec.input_channels, spec.output_channels, conv.group);
    let forward = ConvGeometry::new(axes, inputs, outputs, groups)?;
    // The convolution itself may have been computed in integers.
    if builder.packed(node.inputs[1]).is_none()
        && builder.is_constant(node.inputs[1])
        && conv.kernel_fmt == KernelFormat::OIHW
    {
        conv::packed(builder, node.inputs[1], &forward)?;
    }
    let Some(packed) = builder.packed(node.inputs[1]).cloned() else { return Ok(false) };
    // Another operator may have packed the same constant in another way since.
    let Packed { weights, geometry, offsets } = packed;
    let is_own = [geometry.inputs(), geometry.outputs(), geometry.groups()]
        == [inputs, outputs, groups]
        && offsets == WeightOffsets::of_window(builder.weights(node.inputs[1])?.view());
    if !is_own {
        return Ok(false);
    }
    let (Some(geometry), Some(weights)) = (forward.transposed(), weights.transposed(&forward))
    else {
        return Ok(false);
    };
    let value = channels_last(builder, node.inputs[0], spec)?;
    builder.convolve(node.id.into(), weights, &geometry, value.buffer, value.order)?;
    Ok(true)
}

/// `gradient * function'(values)`.
fn multiplied_by_derivative(
    builder: &mut Builder<'_>,
    node: &TypedNode,
    function: Unary,
    values: OutletId,
) -> TractResult<bool> {
    let outlet: OutletId = node.id.into();
    let values = builder.value(values)?;
    let gradients = builder.value(node.inputs[0])?;
    let gradients = builder.in_order(gradients, values.order.clone());
    let length = values.len();
    let step = DerivativeStep { function, values: values.buffer, gradients: gradients.buffer };
    let buffer = builder.push_new(step, length);
    builder.set(outlet, buffer, values.order)?;
    Ok(true)
}

/// `gradient` where a value is larger, or smaller, than one number: the derivative of a clamp.
fn where_larger(builder: &mut Builder<'_>, node: &TypedNode) -> TractResult<bool> {
    let [gradient, a, b] = [0, 1, 2].map(|slot| node.inputs[slot]);
    let (values, bound, is_above) = if builder.is_constant(b) {
        (a, b, true)
    } else if builder.is_constant(a) {
        (b, a, false)
    } else {
        return Ok(false);
    };
    let (bound, output) = (builder.constant(bound)?, builder.shape(node.id.into())?);
    if bound.shape.iter().product::<usize>() != 1
        || [values, gradient].iter().any(|&of| builder.shape(of).ok().as_ref() != Some(&output))
    {
        return Ok(false);
    }
    let bound = bound.at(0);
    let clamp = if is_above {
        Unary::Clamp(bound, f32::INFINITY)
    } else {
        Unary::Clamp(f32::NEG_INFINITY, bound)
    };
    multiplied_by_derivative(builder, node, clamp, values)
}

fn pooling(builder: &mut Builder<'_>, node: &TypedNode) -> TractResult<bool> {
    let PoolInputGradient { pool, input_shape } = op(node)?;
    let (spec, pooling) = match pool {
        Pool::Max(max) => (&max.pool_spec, Some(Pooling::Max)),
        Pool::Sum(sum) => (&sum.pool_spec, sum_pooling(sum)),
    };
    let input = spec.data_format.shape(input_shape.clone())?;
    let (Some(pooling), Some(axes)) = (pooling, axes(spec, input.hw_dims())?) else {
        return Ok(false);
    };
    if input.n().is_some_and(|&n| n != 1) {
        return Ok(false);
    }
    let geometry = PoolGeometry::new(axes, *input.c_dim())?;
    let gradients = channels_last(builder, node.inputs[0], spec)?;
    let values = match node.inputs.get(1) {
        Some(&values) => Some(channels_last(builder, values, spec)?.buffer),
        None => None,
    };
    let order = gradients.order.clone();
    let step = PoolGradient { pooling, geometry, values, gradients: gradients.buffer };
    let buffer = builder.push_new(step, input_shape.iter().product());
    builder.set(node.id.into(), buffer, order)?;
    Ok(true)
}
