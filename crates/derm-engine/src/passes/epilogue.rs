//! Epilogue fusion: folds the operations that follow a convolution into it, where they are done to
//! the sums while these are in registers or in the nearest cache.
//!
//! A step is folded into the step that writes its operand if nobody else reads that operand, and if
//! whatever else it reads is defined before that step.

use crate::program::{
    Binary, BufferId, Conv, DefUse, Derivative, EpilogueOp, Op, Operand, Program, Step, Unary,
};
use derm_kernels::{BinaryOp, BroadcastAxis, Unary as Function};

/// Folds what can be folded.
pub(crate) fn fold(program: &mut Program) {
    super::fold::fold(program, |op, steps, def_use| match op {
        Op::Unary(unary) => fold_unary(unary, steps, def_use),
        Op::Derivative(derivative) => fold_derivative(derivative, steps, def_use),
        Op::Binary(binary) => fold_addition(binary, steps, def_use),
        _ => None,
    });
}

/// The operation of the step that alone writes `buffer`, if nobody else reads that; and its index.
fn private_writer<'a>(
    buffer: BufferId,
    steps: &'a mut [Option<Step>],
    def_use: &DefUse,
) -> Option<(usize, &'a mut Op)> {
    let writer = def_use.private_writer(buffer)?;
    Some((writer, &mut steps[writer].as_mut()?.op))
}

fn fold_unary(unary: &Unary, steps: &mut [Option<Step>], def_use: &DefUse) -> Option<usize> {
    let (writer, op) = private_writer(unary.input, steps, def_use)?;
    match op {
        Op::Conv(conv) => {
            let joined = match conv.epilogue.last() {
                Some(EpilogueOp::Unary(before)) => joined_clamps(*before, unary.function),
                _ => None,
            };
            match (joined, conv.epilogue.last_mut()) {
                (Some(joined), Some(last)) => *last = EpilogueOp::Unary(joined),
                _ => conv.epilogue.push(EpilogueOp::Unary(unary.function)),
            }
        }
        Op::Unary(before) => before.function = joined_clamps(before.function, unary.function)?,
        _ => return None,
    }
    Some(writer)
}

/// Two clamps one after the other as one.
fn joined_clamps(first: Function, second: Function) -> Option<Function> {
    match (first, second) {
        (Function::Clamp(a, b), Function::Clamp(c, d)) => {
            Some(Function::Clamp(a.max(c).min(d), b.max(c).min(d)))
        }
        _ => None,
    }
}

fn fold_derivative(
    derivative: &Derivative,
    steps: &mut [Option<Step>],
    def_use: &DefUse,
) -> Option<usize> {
    let Derivative { function, values, gradients } = *derivative;
    let writer = def_use.private_writer(gradients)?;
    if !def_use.is_defined_before(values, writer) {
        return None;
    }
    match &mut steps[writer].as_mut()?.op {
        Op::Conv(conv) => {
            let joined = match conv.epilogue.last() {
                Some(EpilogueOp::Derivative(before, of)) if *of == values => {
                    intersected_clamps(*before, function)
                }
                _ => None,
            };
            match (joined, conv.epilogue.last_mut()) {
                (Some(joined), Some(last)) => *last = EpilogueOp::Derivative(joined, values),
                _ => conv.epilogue.push(EpilogueOp::Derivative(function, values)),
            }
        }
        Op::Derivative(before) if before.values == values => {
            before.function = intersected_clamps(before.function, function)?;
        }
        _ => return None,
    }
    Some(writer)
}

/// The derivatives of two clamps of the same values as that of one.
fn intersected_clamps(first: Function, second: Function) -> Option<Function> {
    match (first, second) {
        (Function::Clamp(a, b), Function::Clamp(c, d)) => Some(Function::Clamp(a.max(c), b.min(d))),
        _ => None,
    }
}

fn fold_addition(binary: &Binary, steps: &mut [Option<Step>], def_use: &DefUse) -> Option<usize> {
    if binary.op != BinaryOp::Add {
        return None;
    }
    match (&binary.left, &binary.right) {
        (Operand::Buffer(left), Operand::Buffer(right)) => {
            // Not a broadcast: both operands lie as the sum does.
            let [BroadcastAxis { left: 1, right: 1, .. }] = binary.axes[..] else { return None };
            [(*left, *right), (*right, *left)]
                .into_iter()
                .find_map(|(sums, other)| fold_other(sums, other, steps, def_use))
        }
        (Operand::Buffer(sums), Operand::Constant(values)) => {
            fold_bias(*sums, values, &binary.axes, steps, def_use)
        }
        (Operand::Constant(values), Operand::Buffer(sums)) => {
            let swapped = |axis: &BroadcastAxis| {
                let BroadcastAxis { length, left, right } = *axis;
                BroadcastAxis { length, left: right, right: left }
            };
            let axes: Vec<BroadcastAxis> = binary.axes.iter().map(swapped).collect();
            fold_bias(*sums, values, &axes, steps, def_use)
        }
        (Operand::Constant(_), Operand::Constant(_)) => None,
    }
}

/// Lets the convolution that computes `sums` add `other`, if it adds nothing yet.
fn fold_other(
    sums: BufferId,
    other: BufferId,
    steps: &mut [Option<Step>],
    def_use: &DefUse,
) -> Option<usize> {
    let writer = def_use.private_writer(sums)?;
    let conv = conv_of(steps, writer)?;
    let adds = conv.epilogue.iter().any(|op| matches!(op, EpilogueOp::Add(_)));
    if adds || !def_use.is_defined_before(other, writer) {
        return None;
    }
    conv.epilogue.push(EpilogueOp::Add(other));
    Some(writer)
}

/// Adds a number for each channel to the bias of the convolution that computes `sums`. `axes`: those
/// of the addition, with the sums on the left and the numbers on the right.
fn fold_bias(
    sums: BufferId,
    values: &[f32],
    axes: &[BroadcastAxis],
    steps: &mut [Option<Step>],
    def_use: &DefUse,
) -> Option<usize> {
    let writer = def_use.private_writer(sums)?;
    let conv = conv_of(steps, writer)?;
    let channels = conv.plan.geometry().outputs();
    let (last, others) = axes.split_last()?;
    let varies_with_channel_only = *last == BroadcastAxis { length: channels, left: 1, right: 1 }
        && others.iter().all(|axis| axis.right == 0);
    if !conv.epilogue.is_empty() || values.len() != channels || !varies_with_channel_only {
        return None;
    }
    conv.plan.add_bias(values);
    Some(writer)
}

fn conv_of(steps: &mut [Option<Step>], index: usize) -> Option<&mut Conv> {
    match &mut steps[index].as_mut()?.op {
        Op::Conv(conv) => Some(conv),
        _ => None,
    }
}
