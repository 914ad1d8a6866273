//! Binary: functions of two values, with broadcasting.

use super::builder::Builder;
use super::unary::apply;
use super::value::physical;
use crate::program::{Binary, Operand};
use derm_kernels::{BinaryOp, Unary, broadcast};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::math::{Add, Div, Max, Min, Mul, Sub};

pub(super) fn lower(builder: &mut Builder<'_>, node: &TypedNode) -> TractResult<bool> {
    let Some(function) = node.op_as::<TypedBinOp>() else { return Ok(false) };
    let Some(op) = binary_op(function) else { return Ok(false) };
    for outlet in [node.id.into(), node.inputs[0], node.inputs[1]] {
        if !builder.is_float(outlet)? {
            return Ok(false);
        }
    }
    match [0, 1].map(|slot| builder.is_constant(node.inputs[slot])) {
        [false, false] => of_values(builder, node, op)?,
        [true, _] => with_constant(builder, node, op, 1)?,
        [false, true] => with_constant(builder, node, op, 0)?,
    }
    Ok(true)
}

pub(super) fn binary_op(function: &TypedBinOp) -> Option<BinaryOp> {
    let function = &function.0;
    Some(if function.is::<Add>() {
        BinaryOp::Add
    } else if function.is::<Sub>() {
        BinaryOp::Sub
    } else if function.is::<Mul>() {
        BinaryOp::Mul
    } else if function.is::<Div>() {
        BinaryOp::Div
    } else if function.is::<Max>() {
        BinaryOp::Max
    } else if function.is::<Min>() {
        BinaryOp::Min
    } else {
        return None;
    })
}

/// A function of a value and one number, as a function of the value. `slot`: where the value is.
pub(super) fn with_number(op: BinaryOp, slot: usize, number: f32) -> Option<Unary> {
    Some(match (op, slot) {
        (BinaryOp::Add, _) => Unary::Linear(1.0, number),
        (BinaryOp::Mul, _) => Unary::Linear(number, 0.0),
        (BinaryOp::Sub, 0) => Unary::Linear(1.0, -number),
        (BinaryOp::Sub, _) => Unary::Linear(-1.0, number),
        (BinaryOp::Max, _) => Unary::Clamp(number, f32::INFINITY),
        (BinaryOp::Min, _) => Unary::Clamp(f32::NEG_INFINITY, number),
        (BinaryOp::Div, _) => return None,
    })
}

/// `slot`: which operand is the value; the other is the constant.
fn with_constant(
    builder: &mut Builder<'_>,
    node: &TypedNode,
    op: BinaryOp,
    slot: usize,
) -> TractResult<()> {
    let outlet: OutletId = node.id.into();
    let value = builder.value(node.inputs[slot])?;
    let view = builder.constant(node.inputs[1 - slot])?;
    let output_len: usize = builder.shape(outlet)?.iter().product();
    if view.len() == 1
        && output_len == value.len()
        && let Some(function) = with_number(op, slot, view.at(0))
    {
        return apply(builder, outlet, node.inputs[slot], function);
    }
    // The constant's axes as the value's lie.
    let constant = Operand::Constant(view.values(&value.order).into());
    let constant = (constant, physical(&view.shape, &value.order));
    let varying = (Operand::Buffer(value.buffer), value.physical());
    let (left, right) = if slot == 0 { (varying, constant) } else { (constant, varying) };
    let axes = broadcast(&left.1, &right.1);
    let buffer = builder.push_new(Binary { op, axes, left: left.0, right: right.0 }, output_len);
    builder.set(outlet, buffer, value.order)
}

fn of_values(builder: &mut Builder<'_>, node: &TypedNode, op: BinaryOp) -> TractResult<()> {
    let outlet: OutletId = node.id.into();
    let (left, right) = (builder.value(node.inputs[0])?, builder.value(node.inputs[1])?);
    let order = if left.len() >= right.len() { left.order.clone() } else { right.order.clone() };
    let left = builder.in_order(left, order.clone());
    let right = builder.in_order(right, order.clone());
    let axes = broadcast(&left.physical(), &right.physical());
    let length = builder.shape(outlet)?.iter().product();
    let (left, right) = (Operand::Buffer(left.buffer), Operand::Buffer(right.buffer));
    let buffer = builder.push_new(Binary { op, axes, left, right }, length);
    builder.set(outlet, buffer, order)
}
