//! Epilogue fusion of integer convolutions: tables and additions are done to their values while these
//! are in the nearest cache. What nothing reads any more is removed.

use crate::program::{BufferId, DefUse, Int8Add, Int8Conv, Int8EpilogueOp, Op, Program, Step};
use std::sync::Arc;

/// Folds what can be folded.
pub(crate) fn fold(program: &mut Program) {
    remove_unread(program);
    super::fold::fold(program, |op, steps, def_use| match op {
        Op::Int8Table(table) => {
            let operation = Int8EpilogueOp::Table(Arc::clone(&table.table));
            fold_into(table.input, operation, steps, def_use)
        }
        Op::Int8Add(add) => fold_addition(add, steps, def_use),
        _ => None,
    });
}

/// Removes tables whose values nothing reads: functions of them were made functions of what they are
/// made of.
fn remove_unread(program: &mut Program) {
    let mut is_read = vec![false; program.buffers().len()];
    program.outputs.iter().for_each(|output| is_read[output.index()] = true);
    for step in &program.steps {
        step.op.reads(&mut |buffer| is_read[buffer.index()] = true);
    }
    program
        .steps
        .retain(|step| !matches!(step.op, Op::Int8Table(_)) || is_read[step.output.index()]);
}

/// Lets the convolution that alone writes `values`, for this one reader, do an operation to them.
fn fold_into(
    values: BufferId,
    operation: Int8EpilogueOp,
    steps: &mut [Option<Step>],
    def_use: &DefUse,
) -> Option<usize> {
    let writer = def_use.private_writer(values)?;
    let Op::Int8Conv(Int8Conv { epilogue, .. }) = &mut steps[writer].as_mut()?.op else {
        return None;
    };
    epilogue.push(operation);
    Some(writer)
}

fn fold_addition(step: &Int8Add, steps: &mut [Option<Step>], def_use: &DefUse) -> Option<usize> {
    let [left, right] = step.operands;
    for (sums, other, is_left) in [(left, right, false), (right, left, true)] {
        let Some(writer) = def_use.private_writer(sums) else { continue };
        let operation = Int8EpilogueOp::Add { add: step.add.clone(), other, is_left };
        if def_use.is_defined_before(other, writer)
            && let Some(writer) = fold_into(sums, operation, steps, def_use)
        {
            return Some(writer);
        }
    }
    None
}
