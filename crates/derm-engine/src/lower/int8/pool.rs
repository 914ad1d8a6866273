//! Pooling and means of 8-bit values.

use super::elementwise::scalar;
use super::{DEPTH, Target, number, tabulated};
use crate::lower::binary::binary_op;
use crate::lower::builder::Builder;
use crate::lower::pool::{axes, sum_pooling};
use crate::lower::value::{Held, Value, completed};
use crate::program::Int8Pool;
use derm_kernels::{BinaryOp, PoolGeometry, Pooling, PoolingInt8, Table, Window, WindowAxis};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::{MaxPool, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};

/// Input pixels, at most: their sum has 32 bits.
const MAX_PIXELS: usize = (i32::MAX / 255) as usize;

pub(super) fn lower(
    builder: &mut Builder<'_>,
    outlet: OutletId,
    target: &Target,
) -> TractResult<Option<Held>> {
    let (outlet, factor) = without_factor(builder, outlet)?;
    let node = builder.model.node(outlet.node);
    let Some(held) = node.inputs.first().and_then(|&input| builder.held(input)).cloned() else {
        return Ok(None);
    };
    if let Some(max) = node.op_as::<MaxPool>() {
        if max.with_index_outputs.is_some() || factor != 1.0 {
            return Ok(None);
        }
        let Some((held, geometry)) = windowed(builder, node, &max.pool_spec, &held)? else {
            return Ok(None);
        };
        let pooled = pooled(builder, outlet, &held, geometry, PoolingInt8::Max)?;
        let table = Table::new(|q| target.quantized(number(&held, q)));
        return Ok(Some(tabulated(builder, &pooled, table, target)));
    }
    let scale = factor * held.scale / target.scale;
    let (held, geometry, scale, is_mean) = if let Some(sum) = node.op_as::<SumPool>() {
        let Some((held, geometry)) = windowed(builder, node, &sum.pool_spec, &held)? else {
            return Ok(None);
        };
        let (scale, is_mean) = match sum_pooling(sum) {
            Some(Pooling::Sum) => (scale, false),
            Some(Pooling::Mean) => (scale, true),
            Some(Pooling::MeanWithPadding) => {
                (scale / (geometry.rows().kernel() * geometry.columns().kernel()) as f32, false)
            }
            _ => return Ok(None),
        };
        (held, geometry, scale, is_mean)
    } else if let Some(reduce) = node.op_as::<Reduce>() {
        let Some(geometry) = reduced(&held.value, reduce)? else { return Ok(None) };
        (held, geometry, scale, false)
    } else {
        return Ok(None);
    };
    if geometry.input_len() / geometry.channels() > MAX_PIXELS || !scale.is_finite() {
        return Ok(None);
    }
    let (input_zero, requantize) = (held.zero_point, target.requantize.clone());
    let pooling = PoolingInt8::Sum { input_zero, scale, is_mean, requantize };
    let Held { value, .. } = pooled(builder, outlet, &held, geometry, pooling)?;
    Ok(Some(target.held(value)))
}

/// The value before it is multiplied or divided by numbers, and their product.
fn without_factor(builder: &Builder<'_>, mut outlet: OutletId) -> TractResult<(OutletId, f32)> {
    let mut factor = 1.0;
    for _ in 0..DEPTH {
        let node = builder.model.node(outlet.node);
        let op = node.op_as::<TypedBinOp>().and_then(binary_op);
        let (inner, by) = match op {
            Some(BinaryOp::Div) => match scalar(builder, node.inputs[1])? {
                Some(number) => (node.inputs[0], 1.0 / number),
                None => break,
            },
            Some(BinaryOp::Mul) => {
                match (scalar(builder, node.inputs[0])?, scalar(builder, node.inputs[1])?) {
                    (_, Some(number)) => (node.inputs[0], number),
                    (Some(number), _) => (node.inputs[1], number),
                    _ => break,
                }
            }
            _ => break,
        };
        if builder.shape(inner)? != builder.shape(outlet)? {
            break;
        }
        factor *= by;
        outlet = inner;
    }
    Ok((outlet, factor))
}

/// The input with its channels last, and the windows over it.
fn windowed(
    builder: &Builder<'_>,
    node: &TypedNode,
    spec: &PoolSpec,
    held: &Held,
) -> TractResult<Option<(Held, PoolGeometry)>> {
    let Some((held, axes)) = channels_last(builder, node, spec, held)? else { return Ok(None) };
    let channels = *spec.data_format.shape(held.value.shape.clone())?.c_dim();
    let geometry = PoolGeometry::new(axes, channels)?;
    if geometry.input_len() / geometry.channels() > MAX_PIXELS {
        return Ok(None);
    }
    Ok(Some((held, geometry)))
}

/// A value with its channels last, if it lies so, and a window's axes; none where the window has more
/// than two axes or the batch is not one.
pub(super) fn channels_last(
    builder: &Builder<'_>,
    node: &TypedNode,
    spec: &PoolSpec,
    held: &Held,
) -> TractResult<Option<(Held, [WindowAxis; 2])>> {
    let shape = spec.data_format.shape(builder.shape(node.inputs[0])?)?;
    let Some(axes) = axes(spec, shape.hw_dims())? else { return Ok(None) };
    if shape.n().is_some_and(|&n| n != 1) {
        return Ok(None);
    }
    let mut last: Vec<usize> = shape.hw_axes().collect();
    last.push(shape.c_axis());
    let order = completed(held.value.shape.len(), &last);
    Ok(held.in_order(order).map(|held| (held, axes)))
}

/// A sum along axes that lie one after the other, as a pooling; `None` of another reduction.
fn reduced(value: &Value, reduce: &Reduce) -> TractResult<Option<PoolGeometry>> {
    let is_reduced = |axis: &usize| reduce.axes.contains(axis);
    let order = value.significant();
    let first = order.iter().position(is_reduced).unwrap_or(order.len());
    let count = order.iter().filter(|axis| is_reduced(axis)).count();
    if reduce.reducer != Reducer::Sum || !order[first..].iter().take(count).all(is_reduced) {
        return Ok(None);
    }
    let product = |axes: &[usize]| axes.iter().map(|&axis| value.shape[axis]).product::<usize>();
    let (output, kernel) = (product(&order[..first]), product(&order[first..first + count]));
    let axis = WindowAxis::new(Window {
        input: output * kernel,
        output,
        kernel,
        stride: kernel,
        dilation: 1,
        before: 0,
    })?;
    Ok(Some(PoolGeometry::new([axis, WindowAxis::ONE], product(&order[first + count..]))?))
}

/// The value that a pooling makes of another, held as that is.
fn pooled(
    builder: &mut Builder<'_>,
    outlet: OutletId,
    held: &Held,
    geometry: PoolGeometry,
    pooling: PoolingInt8,
) -> TractResult<Held> {
    let length = geometry.output_len();
    let step = Int8Pool { pooling, geometry, input: held.value.buffer };
    let buffer = builder.push_new_bytes(step, length);
    let value = Value { buffer, shape: builder.shape(outlet)?, order: held.value.order.clone() };
    Ok(Held { value, ..held.clone() })
}
