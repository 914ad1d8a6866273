//! Functions of 8-bit values: of one as a table, sums and products of two.

use super::{DEPTH, Target, number, tabulated};
use crate::lower::binary::{binary_op, with_number};
use crate::lower::builder::Builder;
use crate::lower::unary::function;
use crate::lower::value::{Held, Value};
use crate::program::{BufferId, Int8Add, Int8Mul};
use derm_kernels::{AddInt8, BinaryOp, MulInt8, Requantize, Table, Unary};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;

/// The result for each number that a value is held as.
type Results = Box<[f32; 256]>;

/// The function of one value that a node is, a number being the other operand of a binary one; and
/// the value.
pub(super) fn unary(
    builder: &Builder<'_>,
    node: &TypedNode,
) -> TractResult<Option<(OutletId, Unary)>> {
    if let Some(op) = node.op_as::<ElementWiseOp>() {
        return Ok(function(op.0.as_ref()).map(|function| (node.inputs[0], function)));
    }
    let Some(op) = node.op_as::<TypedBinOp>().and_then(binary_op) else { return Ok(None) };
    for slot in [0, 1] {
        let (input, other) = (node.inputs[slot], node.inputs[1 - slot]);
        if let Some(number) = scalar(builder, other)?
            && builder.shape(input)? == builder.shape(node.id.into())?
            && let Some(function) = with_number(op, slot, number)
        {
            return Ok(Some((input, function)));
        }
    }
    Ok(None)
}

/// A constant of one number.
pub(super) fn scalar(builder: &Builder<'_>, outlet: OutletId) -> TractResult<Option<f32>> {
    let is_one = builder.is_constant(outlet)
        && builder.is_float(outlet)?
        && builder.shape(outlet)?.iter().product::<usize>() == 1;
    Ok(if is_one { Some(builder.constant(outlet)?.at(0)) } else { None })
}

/// The one value that this is an elementwise function of, and its results; `None` if there is none.
pub(super) fn function_of_one(
    builder: &Builder<'_>,
    outlet: OutletId,
) -> TractResult<Option<(Held, Results)>> {
    evaluate(builder, outlet, DEPTH)
}

/// At most `depth` operators are followed. A value that is read twice is evaluated twice: `2^depth`
/// evaluations of 256 numbers at most.
fn evaluate(
    builder: &Builder<'_>,
    outlet: OutletId,
    depth: usize,
) -> TractResult<Option<(Held, Results)>> {
    if let Some(held) = builder.held(outlet) {
        return Ok(Some(root(builder, held)));
    }
    let Some(depth) = depth.checked_sub(1) else { return Ok(None) };
    let node = builder.model.node(outlet.node);
    if let Some(op) = node.op_as::<ElementWiseOp>() {
        let Some(function) = function(op.0.as_ref()) else { return Ok(None) };
        let Some((held, values)) = evaluate(builder, node.inputs[0], depth)? else {
            return Ok(None);
        };
        return Ok(Some((held, results(|q| function.value(values[q])))));
    }
    let Some(op) = node.op_as::<TypedBinOp>().and_then(binary_op) else { return Ok(None) };
    let shape = builder.shape(outlet)?;
    let mut operands = Vec::new();
    let mut found: Option<Held> = None;
    for &input in &node.inputs {
        if let Some(number) = scalar(builder, input)? {
            operands.push(results(|_| number));
            continue;
        }
        if builder.is_constant(input) || builder.shape(input)? != shape {
            return Ok(None);
        }
        let Some((held, values)) = evaluate(builder, input, depth)? else { return Ok(None) };
        if found.as_ref().is_some_and(|found| found.value != held.value) {
            return Ok(None);
        }
        found = Some(held);
        operands.push(values);
    }
    let (Some(held), [left, right]) = (found, &operands[..]) else { return Ok(None) };
    Ok(Some((held, results(|q| apply(op, left[q], right[q])))))
}

fn results(of: impl Fn(usize) -> f32) -> Results {
    Box::new(std::array::from_fn(of))
}

/// A value that is held, as a function of what it is a table of.
fn root(builder: &Builder<'_>, held: &Held) -> (Held, Results) {
    match builder.table(held.value.buffer) {
        Some((buffer, table)) => {
            let value = Value { buffer: *buffer, ..held.value.clone() };
            let values = results(|q| number(held, table.get(q as u8)));
            (Held { value, ..held.clone() }, values)
        }
        None => (held.clone(), results(|q| number(held, q as u8))),
    }
}

fn apply(op: BinaryOp, left: f32, right: f32) -> f32 {
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div => left / right,
        BinaryOp::Max => left.max(right),
        BinaryOp::Min => left.min(right),
    }
}

/// A sum, difference or product of two values that are held.
pub(super) fn lower(
    builder: &mut Builder<'_>,
    outlet: OutletId,
    target: &Target,
) -> TractResult<Option<Held>> {
    let node = builder.model.node(outlet.node);
    let Some(op) = node.op_as::<TypedBinOp>().and_then(binary_op) else { return Ok(None) };
    let operands = [0, 1].map(|slot| builder.held(node.inputs[slot]).cloned());
    let [Some(left), Some(right)] = operands else { return Ok(None) };
    match op {
        BinaryOp::Add => Ok(added(builder, &left, &right, 1.0, target)),
        BinaryOp::Sub => Ok(added(builder, &left, &right, -1.0, target)),
        BinaryOp::Mul if left.value.len() >= right.value.len() => {
            Ok(multiplied(builder, &left, &right, target))
        }
        BinaryOp::Mul => Ok(multiplied(builder, &right, &left, target)),
        BinaryOp::Div | BinaryOp::Max | BinaryOp::Min => Ok(None),
    }
}

fn added(
    builder: &mut Builder<'_>,
    left: &Held,
    right: &Held,
    sign: f32,
    target: &Target,
) -> Option<Held> {
    if left.value.shape != right.value.shape {
        return None;
    }
    let right = &right.in_order(left.value.order.clone())?;
    let Requantize { zero_point, low, high } = target.requantize;
    let (left_scale, right_scale) = (left.scale / target.scale, sign * right.scale / target.scale);
    // Rounded as onnxruntime does: its answers are then the same integers.
    let zeros =
        left_scale.mul_add(f32::from(left.zero_point), right_scale * f32::from(right.zero_point));
    let offset = f32::from(zero_point) - zeros;
    let add = AddInt8 { left_scale, right_scale, offset, low, high };
    if [left_scale, right_scale, offset].iter().any(|number| !number.is_finite()) {
        return None;
    }
    if let Some(table) = of_one(builder, left, right, |left, right| add.value(left, right)) {
        return Some(of_root(builder, left, table, target));
    }
    let length = left.value.len();
    let operands = [left.value.buffer, right.value.buffer];
    let buffer = builder.push_new_bytes(Int8Add { add, operands, length }, length);
    Some(target.held(Value { buffer, ..left.value.clone() }))
}

/// A function of two values that are functions of one, as a table of that one.
fn of_one(
    builder: &Builder<'_>,
    left: &Held,
    right: &Held,
    value: impl Fn(u8, u8) -> u8,
) -> Option<Table> {
    let [(root, of_left), (other, of_right)] = [left, right].map(|held| numbers(builder, held));
    let is_one = root == other && left.value.shape == right.value.shape;
    is_one.then(|| Table::new(|q| value(of_left[usize::from(q)], of_right[usize::from(q)])))
}

/// What the numbers of a value are functions of, and the functions.
fn numbers(builder: &Builder<'_>, held: &Held) -> (BufferId, Box<[u8; 256]>) {
    match builder.table(held.value.buffer) {
        Some((root, table)) => (*root, Box::new(std::array::from_fn(|q| table.get(q as u8)))),
        None => (held.value.buffer, Box::new(std::array::from_fn(|q| q as u8))),
    }
}

/// A table of what a value is a function of.
fn of_root(builder: &mut Builder<'_>, held: &Held, table: Table, target: &Target) -> Held {
    let (buffer, _) = numbers(builder, held);
    let held = Held { value: Value { buffer, ..held.value.clone() }, ..held.clone() };
    tabulated(builder, &held, table, target)
}

/// The right operand is of the left's shape, or has one value a channel, where channels lie last.
fn multiplied(
    builder: &mut Builder<'_>,
    left: &Held,
    right: &Held,
    target: &Target,
) -> Option<Held> {
    if left.value.shape.len() != right.value.shape.len() {
        return None;
    }
    let right = right.in_order(left.value.order.clone())?;
    let (whole, part) = (left.value.physical(), right.value.physical());
    let ones = part.iter().take_while(|&&length| length == 1).count();
    if whole[ones..] != part[ones..] || part.is_empty() {
        return None;
    }
    let scale = left.scale * right.scale / target.scale;
    let Requantize { zero_point, low, high } = target.requantize;
    if !scale.is_finite() {
        return None;
    }
    let mul = MulInt8 {
        left_zero: left.zero_point,
        right_zero: right.zero_point,
        scale,
        zero_point,
        low,
        high,
    };
    if let Some(table) = of_one(builder, left, &right, |left, right| mul.value(left, right)) {
        return Some(of_root(builder, left, table, target));
    }
    let lengths = [left.value.len(), right.value.len()];
    let operands = [left.value.buffer, right.value.buffer];
    let buffer = builder.push_new_bytes(Int8Mul { mul, operands, lengths }, lengths[0]);
    Some(target.held(Value { buffer, ..left.value.clone() }))
}
