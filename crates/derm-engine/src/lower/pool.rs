//! Pooling, and the windows that poolings and convolutions slide over rows and columns.

use super::builder::Builder;
use super::value::{Value, completed};
use crate::program::Pool;
use derm_kernels::{PoolGeometry, Pooling, Window, WindowAxis};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cnn::{MaxPool, PaddingSpec, PoolSpec, SumPool};

pub(super) fn lower(builder: &mut Builder<'_>, node: &TypedNode) -> TractResult<bool> {
    let (spec, pooling) = if let Some(max) = node.op_as::<MaxPool>() {
        (&max.pool_spec, max.with_index_outputs.is_none().then_some(Pooling::Max))
    } else if let Some(sum) = node.op_as::<SumPool>() {
        (&sum.pool_spec, sum_pooling(sum))
    } else {
        return Ok(false);
    };
    let Some(pooling) = pooling else { return Ok(false) };
    if !builder.is_float(node.inputs[0])? {
        return Ok(false);
    }
    let Some((input, axes, order)) = windowed(builder, node, spec)? else {
        return Ok(false);
    };
    let channels = *spec.data_format.shape(input.shape.clone())?.c_dim();
    let geometry = PoolGeometry::new(axes, channels)?;
    let pool = Pool { pooling, geometry, input: input.buffer };
    let buffer = builder.push_new(pool, geometry.output_len());
    builder.set(node.id.into(), buffer, order)?;
    Ok(true)
}

/// What a sum pooling is; none where the number of values that count depends on the position.
pub(super) fn sum_pooling(sum: &SumPool) -> Option<Pooling> {
    let ceiling = matches!(sum.pool_spec.padding, PaddingSpec::ExplicitOnnxPool(_, _, true));
    match (sum.normalize, sum.count_include_pad) {
        (false, _) => Some(Pooling::Sum),
        (true, false) => Some(Pooling::Mean),
        (true, true) => (!ceiling).then_some(Pooling::MeanWithPadding),
    }
}

/// Rows and columns of a window over an input of these sizes; a window over one axis gets one row.
/// None where there are more axes.
pub(super) fn axes(spec: &PoolSpec, sizes: &[usize]) -> TractResult<Option<[WindowAxis; 2]>> {
    let padded = spec.computed_padding(sizes);
    let axis = |index: usize| {
        WindowAxis::new(Window {
            input: sizes[index],
            output: padded[index].convoluted,
            kernel: spec.kernel_shape[index],
            stride: spec.stride(index),
            dilation: spec.dilation(index),
            before: padded[index].pad_before,
        })
    };
    Ok(match sizes.len() {
        1 => Some([WindowAxis::ONE, axis(0)?]),
        2 => Some([axis(0)?, axis(1)?]),
        _ => None,
    })
}

/// A value with its channels last.
pub(super) fn channels_last(
    builder: &mut Builder<'_>,
    outlet: OutletId,
    spec: &PoolSpec,
) -> TractResult<Value> {
    let value = builder.value(outlet)?;
    let shape = spec.data_format.shape(value.shape.clone())?;
    let mut last: Vec<usize> = shape.hw_axes().collect();
    last.push(shape.c_axis());
    let order = completed(value.shape.len(), &last);
    Ok(builder.in_order(value, order))
}

/// The input with its channels last, the window's axes, and the order that the output has.
type Windowed = (Value, [WindowAxis; 2], Vec<usize>);

/// Puts the input's channels last; none where the window has more than two axes or the batch is not
/// one.
pub(super) fn windowed(
    builder: &mut Builder<'_>,
    node: &TypedNode,
    spec: &PoolSpec,
) -> TractResult<Option<Windowed>> {
    let shape = spec.data_format.shape(builder.shape(node.inputs[0])?)?;
    let Some(axes) = axes(spec, shape.hw_dims())? else { return Ok(None) };
    if shape.n().is_some_and(|&n| n != 1) {
        return Ok(None);
    }
    let input = channels_last(builder, node.inputs[0], spec)?;
    let order = input.order.clone();
    Ok(Some((input, axes, order)))
}
