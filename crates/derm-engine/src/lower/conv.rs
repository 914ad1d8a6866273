//! Convolutions with constant weights, channels last.

use super::builder::Builder;
use super::op;
use super::pool::windowed;
use crate::weights::{Strided, WeightOffsets};
use derm_kernels::{ConvGeometry, PackedConv};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cnn::Conv;
use tract_onnx::tract_core::ops::cnn::conv::KernelFormat;

pub(super) fn lower(builder: &mut Builder<'_>, node: &TypedNode) -> TractResult<bool> {
    if !node.op_is::<Conv>() {
        return Ok(false);
    }
    let conv: &Conv = op(node)?;
    if !builder.is_float(node.id.into())? || !builder.is_float(node.inputs[0])? {
        return Ok(false);
    }
    let is_known = node.inputs[1..].iter().all(|&input| builder.is_constant(input));
    if !is_known || conv.q_params.is_some() || conv.kernel_fmt != KernelFormat::OIHW {
        return Ok(false);
    }
    let Some((input, axes, order)) = windowed(builder, node, &conv.pool_spec)? else {
        return Ok(false);
    };
    let [inputs, outputs] = [conv.pool_spec.input_channels, conv.pool_spec.output_channels];
    let geometry = ConvGeometry::new(axes, inputs, outputs, conv.group)?;
    let bias = match node.inputs.get(2) {
        None => None,
        Some(&bias) => Some(bias_values(&builder.constant(bias)?, outputs)),
    };
    let weights = packed(builder, node.inputs[1], &geometry)?.with_bias(bias.as_deref());
    builder.convolve(node.id.into(), weights, &geometry, input.buffer, order)?;
    Ok(true)
}

/// The weights at `outlet`, packed.
pub(super) fn packed(
    builder: &mut Builder<'_>,
    outlet: OutletId,
    geometry: &ConvGeometry,
) -> TractResult<PackedConv> {
    let weights = builder.weights(outlet)?;
    let offsets = WeightOffsets::of_window(weights.view());
    Ok(builder.pack(outlet, &weights, geometry, offsets))
}

/// A bias for each output channel; one number is for all of them.
fn bias_values(view: &Strided<'_>, outputs: usize) -> Vec<f32> {
    let axes: Vec<usize> = (0..view.shape.len()).collect();
    let values = view.values(&axes);
    if values.len() == 1 { vec![values[0]; outputs] } else { values }
}
