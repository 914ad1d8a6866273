//! Functions of one and of two values. Those of a convolution's output join its step.

use super::Lowering;
use crate::step::{Action, Operand, Then};
use crate::value::Value;
use derm_kernels::{BinaryOp, Unary, broadcast};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_core::ops::math::{
    Add, Div, Exp, Max, Min, Mul, Neg, Recip, Rsqrt, Sqrt, Square, Sub, Tanh,
};
use tract_onnx::tract_core::ops::nn::{GeluExact, HardSwish, LeakyRelu, Sigmoid, Silu};

pub(super) fn lower(lowering: &mut Lowering<'_>, node: &TypedNode) -> TractResult<bool> {
    let outlet: OutletId = node.id.into();
    if !lowering.is_float(outlet)?
        || !node.inputs.iter().all(|&i| lowering.is_float(i).unwrap_or(false))
    {
        return Ok(false);
    }
    if node.op_is::<Cast>() {
        let value = lowering.value(node.inputs[0])?;
        lowering.set(outlet, value.buffer, value.order, value.open)?;
        return Ok(true);
    }
    if let Some(function) = node.op_as::<ElementWiseOp>() {
        let Some(activation) = activation(function.0.as_ref()) else { return Ok(false) };
        let value = lowering.value(node.inputs[0])?;
        lowering.activate(outlet, value, activation)?;
        return Ok(true);
    }
    let Some(function) = node.op_as::<TypedBinOp>() else { return Ok(false) };
    let function = &function.0;
    let op = if function.is::<Add>() {
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
        return Ok(false);
    };
    let constant = [0, 1].map(|slot| lowering.is_constant(node.inputs[slot]));
    match constant {
        [false, false] => of_values(lowering, node, op)?,
        [true, _] => with_constant(lowering, node, op, 1)?,
        _ => with_constant(lowering, node, op, 0)?,
    }
    Ok(true)
}

pub(super) fn activation(function: &dyn ElementWiseMiniOp) -> Option<Unary> {
    Some(if function.is::<Sigmoid>() {
        Unary::Sigmoid
    } else if function.is::<Silu>() {
        Unary::Silu
    } else if function.is::<HardSwish>() {
        Unary::HardSwish
    } else if function.is::<Tanh>() {
        Unary::Tanh
    } else if function.is::<GeluExact>() {
        Unary::Gelu
    } else if let Some(leaky) = function.downcast_ref::<LeakyRelu>() {
        Unary::LeakyRelu(leaky.alpha)
    } else if function.is::<Square>() {
        Unary::Square
    } else if function.is::<Sqrt>() {
        Unary::Sqrt
    } else if function.is::<Rsqrt>() {
        Unary::Rsqrt
    } else if function.is::<Recip>() {
        Unary::Recip
    } else if function.is::<Exp>() {
        Unary::Exp
    } else if function.is::<Neg>() {
        Unary::Neg
    } else {
        return None;
    })
}

/// A function of a value and one number, as a function of the value. `slot`: where the value is.
fn of_one(op: BinaryOp, slot: usize, number: f32) -> Option<Unary> {
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

/// Two functions in a row as one, where that is one.
fn merged(first: Unary, second: Unary) -> Option<Unary> {
    match (first, second) {
        (Unary::Clamp(a, b), Unary::Clamp(c, d)) => {
            Some(Unary::Clamp(a.max(c).min(d), b.max(c).min(d)))
        }
        _ => None,
    }
}

impl Lowering<'_> {
    fn activate(&mut self, outlet: OutletId, value: Value, activation: Unary) -> TractResult<()> {
        if let Some(step) = value.open {
            match &mut self.steps[step].action {
                Action::Conv { then, .. } => {
                    let joined = match then.last() {
                        Some(Then::Activate(before)) => merged(*before, activation),
                        _ => None,
                    };
                    match (joined, then.last_mut()) {
                        (Some(joined), Some(last)) => *last = Then::Activate(joined),
                        _ => then.push(Then::Activate(activation)),
                    }
                    return self.set(outlet, value.buffer, value.order, Some(step));
                }
                Action::Activate { activation: before, .. } => {
                    if let Some(joined) = merged(*before, activation) {
                        *before = joined;
                        return self.set(outlet, value.buffer, value.order, Some(step));
                    }
                }
                _ => {}
            }
        }
        let action = Action::Activate { activation, input: value.buffer };
        let (step, buffer) = self.push_new(action, value.len());
        self.set(outlet, buffer, value.order, Some(step))
    }
}

fn with_constant(
    lowering: &mut Lowering<'_>,
    node: &TypedNode,
    op: BinaryOp,
    slot: usize,
) -> TractResult<()> {
    let outlet: OutletId = node.id.into();
    let value = lowering.value(node.inputs[slot])?;
    let view = lowering.constant(node.inputs[1 - slot])?;
    let output_len: usize = lowering.shape(outlet)?.iter().product();
    let count: usize = view.shape.iter().product();
    if count == 1
        && output_len == value.len()
        && let Some(activation) = of_one(op, slot, view.at(0))
    {
        return lowering.activate(outlet, value, activation);
    }
    // Its axes as the value's lie.
    let numbers: Vec<f32> = view.offsets(&value.order).into_iter().map(|at| view.at(at)).collect();
    let sides: Vec<usize> = value.order.iter().map(|&axis| view.shape[axis]).collect();
    if op == BinaryOp::Add
        && let Some(step) = value.open
        && let Action::Conv { plan, then, .. } = &mut lowering.steps[step].action
        && then.is_empty()
        && numbers.len() == plan.geometry().outputs()
        && last_channels(&value, plan.geometry().outputs())
            .is_some_and(|front| sides[..front].iter().all(|&side| side == 1))
    {
        plan.add_bias(&numbers);
        return lowering.set(outlet, value.buffer, value.order, Some(step));
    }
    let constant = (Operand::Constant(numbers.into()), sides);
    let varying = (Operand::Buffer(value.buffer), value.physical());
    let (left, right) = if slot == 0 { (varying, constant) } else { (constant, varying) };
    let axes = broadcast(&left.1, &right.1);
    let action = Action::Binary { op, axes, left: left.0, right: right.0 };
    let (step, buffer) = lowering.push_new(action, output_len);
    lowering.set(outlet, buffer, value.order, Some(step))
}

/// How many of the value's axes, as they lie, come before those that hold the channels.
fn last_channels(value: &Value, channels: usize) -> Option<usize> {
    let sides = value.physical();
    (0..=sides.len()).rev().find(|&front| sides[front..].iter().product::<usize>() == channels)
}

fn of_values(lowering: &mut Lowering<'_>, node: &TypedNode, op: BinaryOp) -> TractResult<()> {
    let outlet: OutletId = node.id.into();
    let (left, right) = (lowering.value(node.inputs[0])?, lowering.value(node.inputs[1])?);
    if op == BinaryOp::Add && left.shape == right.shape && left.significant() == right.significant()
    {
        for (open, other) in [(&left, &right), (&right, &left)] {
            if join(lowering, open, other) {
                return lowering.set(outlet, open.buffer, open.order.clone(), open.open);
            }
        }
    }
    let order = if left.len() >= right.len() { left.order.clone() } else { right.order.clone() };
    let left = lowering.in_order(left, order.clone());
    let right = lowering.in_order(right, order.clone());
    let axes = broadcast(&left.physical(), &right.physical());
    let length = lowering.shape(outlet)?.iter().product();
    let (left, right) = (Operand::Buffer(left.buffer), Operand::Buffer(right.buffer));
    let (step, buffer) = lowering.push_new(Action::Binary { op, axes, left, right }, length);
    lowering.set(outlet, buffer, order, Some(step))
}

/// Lets the convolution that makes `open` add `other`, if that is made before it and no other
/// value was added yet.
fn join(lowering: &mut Lowering<'_>, open: &Value, other: &Value) -> bool {
    let Some(step) = open.open else { return false };
    if open.buffer == other.buffer {
        return false;
    }
    let before = lowering.written_by(other.buffer).is_none_or(|writer| writer < step);
    let Action::Conv { then, .. } = &mut lowering.steps[step].action else { return false };
    if !before || then.iter().any(|then| matches!(then, Then::Add(_))) {
        return false;
    }
    then.push(Then::Add(other.buffer));
    true
}
