//! Integer convolutions and matrix products.

use super::Target;
use super::pool::channels_last;
use crate::lower::binary::binary_op;
use crate::lower::builder::Builder;
use crate::lower::einsum::{column, in_memory_order, roles, weight_product};
use crate::lower::value::{Held, Value, completed};
use crate::program::Int8Conv;
use crate::weights::{Int8Weights, WeightOffsets};
use derm_kernels::{BinaryOp, ConvGeometry, Int8Output, Int8Plan, PackedInt8};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::Conv;
use tract_onnx::tract_core::ops::cnn::conv::KernelFormat;
use tract_onnx::tract_core::ops::einsum::EinSum;

/// A bias, at most: sums of products and it fit 32 bits.
const MAX_BIAS: f64 = (1 << 29) as f64;

/// A product whose operands are known to be 8-bit values.
struct Product<'a> {
    geometry: ConvGeometry,
    input: Held,
    weights: Int8Weights<'a>,
    offsets: WeightOffsets,
    /// For each output channel what is added, as float32.
    bias: Vec<f32>,
    /// The output's shape and order.
    shape: Vec<usize>,
    order: Vec<usize>,
}

/// A convolution, or a product with a constant, and numbers for each channel that are added.
pub(super) fn lower(
    builder: &mut Builder<'_>,
    outlet: OutletId,
    target: &Target,
) -> TractResult<Option<Held>> {
    let node = builder.model.node(outlet.node);
    let (core, added) = match node.op_as::<TypedBinOp>().and_then(binary_op) {
        Some(BinaryOp::Add) => {
            let constant = [0, 1].map(|slot| builder.is_constant(node.inputs[slot]));
            match constant {
                [false, true] => (node.inputs[0], Some(node.inputs[1])),
                [true, false] => (node.inputs[1], Some(node.inputs[0])),
                _ => return Ok(None),
            }
        }
        Some(_) => return Ok(None),
        None => (outlet, None),
    };
    if builder.has_floats(core) || builder.shape(core)? != builder.shape(outlet)? {
        return Ok(None);
    }
    let node = builder.model.node(core.node);
    if let Some(conv) = node.op_as::<Conv>() {
        return convolution(builder, node, conv, added, target);
    }
    match node.op_as::<EinSum>() {
        Some(einsum) => matrix_product(builder, node, einsum, added, target),
        None => Ok(None),
    }
}

fn convolution(
    builder: &mut Builder<'_>,
    node: &TypedNode,
    conv: &Conv,
    added: Option<OutletId>,
    target: &Target,
) -> TractResult<Option<Held>> {
    if conv.q_params.is_some() || conv.kernel_fmt != KernelFormat::OIHW {
        return Ok(None);
    }
    let Some(held) = builder.held(node.inputs[0]).cloned() else { return Ok(None) };
    let Some((input, axes)) = channels_last(builder, node, &conv.pool_spec, &held)? else {
        return Ok(None);
    };
    let Some(weights) = builder.constants.int8_view(node.inputs[1])? else { return Ok(None) };
    let [inputs, outputs] = [conv.pool_spec.input_channels, conv.pool_spec.output_channels];
    let geometry = ConvGeometry::new(axes, inputs, outputs, conv.group)?;
    let shape = builder.shape(node.id.into())?;
    let channel_axis = conv.pool_spec.data_format.shape(&shape)?.c_axis();
    let mut bias = vec![0.0; outputs];
    if let Some(&own) = node.inputs.get(2)
        && !add_bias(builder, own, &[0], &mut bias)?
    {
        return Ok(None);
    }
    if let Some(added) = added
        && !add_bias(builder, added, &[channel_axis], &mut bias)?
    {
        return Ok(None);
    }
    let offsets = WeightOffsets::of_window(&weights.view);
    let order = input.value.order.clone();
    let product = Product { geometry, input, weights, offsets, bias, shape, order };
    finish(builder, product, target)
}

fn matrix_product(
    builder: &mut Builder<'_>,
    node: &TypedNode,
    einsum: &EinSum,
    added: Option<OutletId>,
    target: &Target,
) -> TractResult<Option<Held>> {
    if node.inputs.len() != 2 || einsum.q_params.is_some() {
        return Ok(None);
    }
    let first = usize::from(builder.is_constant(node.inputs[0]));
    let Some(held) = builder.held(node.inputs[first]).cloned() else { return Ok(None) };
    if !builder.is_constant(node.inputs[1 - first]) {
        return Ok(None);
    }
    let Some(roles) = roles(builder, node, einsum, first)? else { return Ok(None) };
    let left = in_memory_order(&roles.left, &held.value.order);
    let batch = in_memory_order(&roles.batch, &held.value.order);
    let summed = in_memory_order(&roles.summed, &held.value.order);
    let axes = [column(&left, 0), column(&batch, 0), column(&summed, 0)].concat();
    let order = completed(held.value.shape.len(), &axes);
    let Some(input) = held.in_order(order) else { return Ok(None) };
    let Some(weights) = builder.constants.int8_view(node.inputs[1 - first])? else {
        return Ok(None);
    };
    let axes = [column(&batch, 1), column(&roles.right, 0), column(&summed, 1)];
    let (geometry, offsets) = weight_product(input.value.len(), &weights.view, &axes)?;
    let shape = builder.shape(node.id.into())?;
    let channels = [column(&batch, 2), column(&roles.right, 1)].concat();
    let mut bias = vec![0.0; geometry.outputs()];
    if let Some(added) = added
        && !add_bias(builder, added, &channels, &mut bias)?
    {
        return Ok(None);
    }
    let order = completed(shape.len(), &[column(&left, 1), channels].concat());
    let product = Product { geometry, input, weights, offsets, bias, shape, order };
    finish(builder, product, target)
}

/// Adds a constant that varies with the output channel only, whose index is that along `axes`; returns
/// whether it does.
fn add_bias(
    builder: &Builder<'_>,
    constant: OutletId,
    axes: &[usize],
    bias: &mut [f32],
) -> TractResult<bool> {
    if !builder.is_constant(constant) {
        return Ok(false);
    }
    let view = builder.constant(constant)?;
    if view.len() == 1 {
        bias.iter_mut().for_each(|bias| *bias += view.at(0));
        return Ok(true);
    }
    if axes.iter().any(|&axis| axis >= view.shape.len()) || view.len() != bias.len() {
        return Ok(false);
    }
    let offsets = view.offsets(axes);
    if offsets.len() != bias.len() {
        return Ok(false);
    }
    bias.iter_mut().zip(offsets).for_each(|(bias, offset)| *bias += view.at(offset));
    Ok(true)
}

/// Writes the step; `None` where a sum could exceed 32 bits, the scales vary within a channel, or a zero
/// point is not 0.
fn finish(
    builder: &mut Builder<'_>,
    product: Product<'_>,
    target: &Target,
) -> TractResult<Option<Held>> {
    let Product { geometry, input, weights, offsets, bias, shape, order } = product;
    if !PackedInt8::fits(&geometry) {
        return Ok(None);
    }
    let Some(channels) = weights.channel_scales(&offsets) else { return Ok(None) };
    if channels.iter().any(|channel| channel.zero_point != 0) {
        return Ok(None);
    }
    let mut scales = Vec::with_capacity(geometry.outputs());
    let mut sums = Vec::with_capacity(geometry.outputs());
    for (bias, channel) in bias.into_iter().zip(channels) {
        let unit = input.scale * channel.scale;
        let bias = if bias == 0.0 { 0.0 } else { (f64::from(bias) / f64::from(unit)).round() };
        let scale = unit / target.scale;
        if bias.is_nan() || bias.abs() > MAX_BIAS || !scale.is_finite() {
            return Ok(None);
        }
        scales.push(scale);
        sums.push(bias as i32);
    }
    let packed = builder.pack_int8(&weights, &geometry, &offsets);
    let output = Int8Output {
        input_zero: input.zero_point,
        bias: &sums,
        scales: &scales,
        requantize: &target.requantize,
    };
    let plan = Int8Plan::new(packed, &geometry, output);
    let step = Int8Conv { plan, input: input.value.buffer, epilogue: Vec::new() };
    let buffer = builder.push_new_bytes(step, geometry.output_len());
    Ok(Some(target.held(Value { buffer, shape, order })))
}
