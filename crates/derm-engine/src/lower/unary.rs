//! Unary: functions of one value.

use super::builder::Builder;
use crate::program::Unary;
use derm_kernels::Activation;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_core::ops::math::{Exp, Neg, Recip, Rsqrt, Sqrt, Square, Tanh};
use tract_onnx::tract_core::ops::nn::{GeluExact, HardSwish, LeakyRelu, Sigmoid, Silu};

pub(super) fn lower(builder: &mut Builder<'_>, node: &TypedNode) -> TractResult<bool> {
    let outlet: OutletId = node.id.into();
    if node.inputs.len() != 1 || !builder.is_float(outlet)? || !builder.is_float(node.inputs[0])? {
        return Ok(false);
    }
    if node.op_is::<Cast>() {
        let value = builder.value(node.inputs[0])?;
        builder.set(outlet, value.buffer, value.order)?;
        return Ok(true);
    }
    let Some(function) = node.op_as::<ElementWiseOp>() else { return Ok(false) };
    let Some(activation) = activation(function.0.as_ref()) else { return Ok(false) };
    activate(builder, outlet, node.inputs[0], activation)?;
    Ok(true)
}

/// `outlet` is `activation` of the value at `input`.
pub(super) fn activate(
    builder: &mut Builder<'_>,
    outlet: OutletId,
    input: OutletId,
    activation: Activation,
) -> TractResult<()> {
    let value = builder.value(input)?;
    let buffer = builder.push_new(Unary { activation, input: value.buffer }, value.len());
    builder.set(outlet, buffer, value.order)
}

/// The kernel's function for one of tract's.
pub(super) fn activation(function: &dyn ElementWiseMiniOp) -> Option<Activation> {
    Some(if function.is::<Sigmoid>() {
        Activation::Sigmoid
    } else if function.is::<Silu>() {
        Activation::Silu
    } else if function.is::<HardSwish>() {
        Activation::HardSwish
    } else if function.is::<Tanh>() {
        Activation::Tanh
    } else if function.is::<GeluExact>() {
        Activation::Gelu
    } else if let Some(leaky) = function.downcast_ref::<LeakyRelu>() {
        Activation::LeakyRelu(leaky.alpha)
    } else if function.is::<Square>() {
        Activation::Square
    } else if function.is::<Sqrt>() {
        Activation::Sqrt
    } else if function.is::<Rsqrt>() {
        Activation::Rsqrt
    } else if function.is::<Recip>() {
        Activation::Recip
    } else if function.is::<Exp>() {
        Activation::Exp
    } else if function.is::<Neg>() {
        Activation::Neg
    } else {
        return None;
    })
}
