//! In-place reuse: an output takes the memory of an operand that dies with the step.

use crate::arena::Interval;
use crate::program::{BufferId, Program};

/// For each buffer the one whose memory it uses: its own, or that of an operand that dies where it
/// is computed. The operand's interval then covers both, and the buffer's own becomes empty.
pub(crate) fn share(program: &Program, lives: &mut [Interval]) -> Vec<BufferId> {
    let mut owners = separate(program);
    for (index, step) in program.steps.iter().enumerate() {
        let output = step.output.index();
        if lives[output].first != index || owners[output] != step.output {
            continue;
        }
        let dies_here = |operand: &BufferId| {
            let owner = lives[owners[operand.index()].index()];
            let fits = owner.length == lives[output].length && *operand != step.output;
            // An output lives beyond the last step.
            fits && owner.last == index
        };
        let operand = step.op.in_place().into_iter().flatten().find(dies_here);
        if let Some(operand) = operand {
            let owner = owners[operand.index()];
            owners[output] = owner;
            lives[owner.index()].last = lives[output].last;
            lives[output].length = 0;
        }
    }
    owners
}

/// Each buffer with memory of its own.
pub(crate) fn separate(program: &Program) -> Vec<BufferId> {
    program.ids().collect()
}
