//! Unary: functions of one value.

use super::builder::Builder;
use crate::graph_ops::Function;
use crate::program::Unary as UnaryStep;
use derm_kernels::Unary;
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
    let Some(op) = node.op_as::<ElementWiseOp>() else { return Ok(false) };
    let Some(function) = function(op.0.as_ref()) else { return Ok(false) };
    apply(builder, outlet, node.inputs[0], function)?;
    Ok(true)
}

/// `outlet` is `function` of the value at `input`.
pub(super) fn apply(
    builder: &mut Builder<'_>,
    outlet: OutletId,
    input: OutletId,
    function: Unary,
) -> TractResult<()> {
    let value = builder.value(input)?;
    let buffer = builder.push_new(UnaryStep { function, input: value.buffer }, value.len());
    builder.set(outlet, buffer, value.order)
}

/// The kernel's function for one of tract's.
pub(super) fn function(op: &dyn ElementWiseMiniOp) -> Option<Unary> {
    Some(if let Some(Function(function)) = op.downcast_ref() {
        *function
    } else if op.is::<Sigmoid>() {
        Unary::Sigmoid
    } else if op.is::<Silu>() {
        Unary::Silu
    } else if op.is::<HardSwish>() {
        Unary::HardSwish
    } else if op.is::<Tanh>() {
        Unary::Tanh
    } else if op.is::<GeluExact>() {
        Unary::Gelu
    } else if let Some(leaky) = op.downcast_ref::<LeakyRelu>() {
        Unary::LeakyRelu(leaky.alpha)
    } else if op.is::<Square>() {
        Unary::Square
    } else if op.is::<Sqrt>() {
        Unary::Sqrt
    } else if op.is::<Rsqrt>() {
        Unary::Rsqrt
    } else if op.is::<Recip>() {
        Unary::Recip
    } else if op.is::<Exp>() {
        Unary::Exp
    } else if op.is::<Neg>() {
        Unary::Neg
    } else {
        return None;
    })
}
