//! Gradients of the operators that have an operator of their own for it (`ops`).

use super::conv::{axes, sum_pooling};
use super::elementwise::activation;
use super::{Lowering, op};
use crate::ops::{ConvInputGradient, Derivative, Pool, PoolInputGradient, Relation, Where};
use crate::step::{Action, Buffer, Then};
use crate::value::{Value, completed};
use derm_kernels::{ConvGeometry, PoolGeometry, Pooling, Unary};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cnn::PoolSpec;

pub(super) fn lower(lowering: &mut Lowering<'_>, node: &TypedNode) -> TractResult<bool> {
    if node.op_is::<ConvInputGradient>() {
        return convolution(lowering, node);
    }
    if let Some(derivative) = node.op_as::<Derivative>() {
        let Some(activation) = activation(derivative.0.0.as_ref()) else { return Ok(false) };
        return differentiated(lowering, node, activation, node.inputs[1]);
    }
    if let Some(Where(Relation::Larger)) = node.op_as::<Where>() {
        return larger(lowering, node);
    }
    if node.op_is::<PoolInputGradient>() {
        return pooling(lowering, node);
    }
    Ok(false)
}

/// A value with its channels last, and the order of an operand with the same axes.
fn channels_last(
    lowering: &mut Lowering<'_>,
    outlet: OutletId,
    spec: &PoolSpec,
) -> TractResult<Value> {
    let value = lowering.value(outlet)?;
    let shape = spec.data_format.shape(value.shape.clone())?;
    let mut last: Vec<usize> = shape.hw_axes().collect();
    last.push(shape.c_axis());
    let order = completed(value.shape.len(), &last);
    Ok(lowering.in_order(value, order))
}

fn convolution(lowering: &mut Lowering<'_>, node: &TypedNode) -> TractResult<bool> {
    let ConvInputGradient { conv, input_shape } = op(node)?;
    let spec = &conv.pool_spec;
    let Some(packed) = lowering.packed.get(&node.inputs[1]).cloned() else { return Ok(false) };
    let input = spec.data_format.shape(input_shape.clone())?;
    let Some(axes) = axes(spec, input.hw_dims()) else { return Ok(false) };
    if input.n().is_some_and(|&n| n != 1) {
        return Ok(false);
    }
    let shape = packed.shape;
    let forward = ConvGeometry::new(axes, shape.inputs(), shape.outputs(), shape.groups())?;
    let kernel = packed.kernel.transposed(&forward);
    let (Some(shape), Some(kernel)) = (forward.transposed(), kernel) else { return Ok(false) };
    let value = channels_last(lowering, node.inputs[0], spec)?;
    lowering.convolve(node.id.into(), kernel, shape, value.buffer, value.order)?;
    Ok(true)
}

/// `gradient * activation'(values)`.
fn differentiated(
    lowering: &mut Lowering<'_>,
    node: &TypedNode,
    activation: Unary,
    values: OutletId,
) -> TractResult<bool> {
    let outlet: OutletId = node.id.into();
    let values = lowering.value(values)?;
    let gradients = lowering.value(node.inputs[0])?;
    let gradients = lowering.in_order(gradients, values.order.clone());
    if let Some(step) = gradients.open
        && lowering.written_by(values.buffer).is_none_or(|writer| writer < step)
        && join(&mut lowering.steps[step].action, activation, values.buffer)
    {
        return lowering.set(outlet, gradients.buffer, gradients.order, Some(step)).map(|()| true);
    }
    let length = values.len();
    let action =
        Action::Differentiate { activation, values: values.buffer, gradients: gradients.buffer };
    let (step, buffer) = lowering.push_new(action, length);
    lowering.set(outlet, buffer, values.order, Some(step))?;
    Ok(true)
}

/// Lets the step that makes a gradient do it: a convolution, or the derivative of another clamp of
/// the same values.
fn join(action: &mut Action, activation: Unary, values: Buffer) -> bool {
    let clamps = |first: Unary| match (first, activation) {
        (Unary::Clamp(a, b), Unary::Clamp(c, d)) => Some(Unary::Clamp(a.max(c), b.min(d))),
        _ => None,
    };
    match action {
        Action::Conv { then, .. } => {
            if let Some(Then::Differentiate(before, of)) = then.last_mut()
                && *of == values
                && let Some(both) = clamps(*before)
            {
                *before = both;
                return true;
            }
            then.push(Then::Differentiate(activation, values));
            true
        }
        Action::Differentiate { activation: before, values: of, .. } if *of == values => {
            let both = clamps(*before);
            if let Some(both) = both {
                *before = both;
            }
            both.is_some()
        }
        _ => false,
    }
}

/// `gradient` where a value is larger, or smaller, than one number: how a clamp is differentiated.
fn larger(lowering: &mut Lowering<'_>, node: &TypedNode) -> TractResult<bool> {
    let [gradient, a, b] = [0, 1, 2].map(|slot| node.inputs[slot]);
    let (values, bound, is_above) = if lowering.is_constant(b) {
        (a, b, true)
    } else if lowering.is_constant(a) {
        (b, a, false)
    } else {
        return Ok(false);
    };
    let (bound, output) = (lowering.constant(bound)?, lowering.shape(node.id.into())?);
    if bound.shape.iter().product::<usize>() != 1
        || [values, gradient].iter().any(|&of| lowering.shape(of).ok().as_ref() != Some(&output))
    {
        return Ok(false);
    }
    let bound = bound.at(0);
    let activation = if is_above {
        Unary::Clamp(bound, f32::INFINITY)
    } else {
        Unary::Clamp(f32::NEG_INFINITY, bound)
    };
    differentiated(lowering, node, activation, values)
}

fn pooling(lowering: &mut Lowering<'_>, node: &TypedNode) -> TractResult<bool> {
    let PoolInputGradient { pool, input_shape } = op(node)?;
    let (spec, pooling) = match pool {
        Pool::Max(max) => (&max.pool_spec, Some(Pooling::Max)),
        Pool::Sum(sum) => (&sum.pool_spec, sum_pooling(sum)),
    };
    let input = spec.data_format.shape(input_shape.clone())?;
    let (Some(pooling), Some(axes)) = (pooling, axes(spec, input.hw_dims())) else {
        return Ok(false);
    };
    if input.n().is_some_and(|&n| n != 1) {
        return Ok(false);
    }
    let shape = PoolGeometry::new(axes, *input.c_dim())?;
    let gradients = channels_last(lowering, node.inputs[0], spec)?;
    let values = match node.inputs.get(1) {
        Some(&values) => Some(channels_last(lowering, values, spec)?.buffer),
        None => None,
    };
    let order = gradients.order.clone();
    let action = Action::PoolGradient { pooling, shape, values, gradients: gradients.buffer };
    let (step, buffer) = lowering.push_new(action, input_shape.iter().product());
    lowering.set(node.id.into(), buffer, order, Some(step))?;
    Ok(true)
}
