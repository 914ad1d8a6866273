//! Folding: a step's work is done by the earlier step that writes its operand.

use crate::program::{DefUse, Op, Program, Step};

/// Goes through the steps in order. Where `into` has put a step's work into an earlier one, and names
/// that, the step is removed, and the earlier one writes its output.
pub(super) fn fold(
    program: &mut Program,
    into: impl Fn(&Op, &mut [Option<Step>], &DefUse) -> Option<usize>,
) {
    let mut def_use = DefUse::of(program);
    let mut steps: Vec<Option<Step>> =
        std::mem::take(&mut program.steps).into_iter().map(Some).collect();
    for index in 0..steps.len() {
        let Some(step) = steps[index].take() else { continue };
        let writer = into(&step.op, &mut steps, &def_use);
        let writer = writer.and_then(|writer| Some((writer, steps[writer].as_mut()?)));
        match writer {
            Some((number, writer)) => {
                writer.output = step.output;
                def_use.redefine(step.output, number);
            }
            None => steps[index] = Some(step),
        }
    }
    program.steps = steps.into_iter().flatten().collect();
}
