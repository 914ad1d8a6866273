//! Liveness: from which step to which step each buffer is needed.

use crate::arena::Interval;
use crate::program::{BufferId, Program};

/// The interval of each buffer of a program. What the last phase reads of earlier ones is live to
/// the end, so that the last phase may run again.
pub(crate) fn lives(program: &Program) -> Vec<Interval> {
    let end = program.steps.len();
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; program.buffers().len()];
    for (phase, input) in program.inputs.iter().enumerate() {
        let first = program.steps_of(phase).start;
        lives[input.index()] = Some((first, first));
    }
    for (index, step) in program.steps.iter().enumerate() {
        let mut extend = |buffer: BufferId| {
            lives[buffer.index()].get_or_insert((index, index)).1 = index;
        };
        step.writes(&mut extend);
        step.op.reads(&mut extend);
    }
    for output in &program.outputs {
        let first = lives[output.index()].map_or(0, |life| life.0);
        lives[output.index()] = Some((first, end));
    }
    if let [earlier @ .., _] = &program.inputs[..]
        && !earlier.is_empty()
    {
        let last = program.steps_of(earlier.len()).start;
        // An earlier phase may have no steps: its input is then as old as the last phase.
        for (buffer, life) in program.ids().zip(&mut lives) {
            let Some((first, until)) = life else { continue };
            if (*first < last || earlier.contains(&buffer)) && *until >= last {
                *until = end;
            }
        }
    }
    let buffers = program.buffers().iter().zip(lives);
    buffers
        .map(|(buffer, life)| match life {
            Some((first, last)) => Interval { length: buffer.words(), first, last },
            None => Interval { length: 0, first: 0, last: 0 },
        })
        .collect()
}

/// The interval of each step's scratch, for `threads` threads: the step itself.
pub(crate) fn scratch(program: &Program, threads: usize) -> Vec<Interval> {
    let steps = program.steps.iter().enumerate();
    steps
        .map(|(index, step)| Interval {
            length: step.op.scratch(threads),
            first: index,
            last: index,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{Fill, Step, Unary};
    use derm_kernels::Unary as Function;

    fn step(phase: usize, input: BufferId, output: BufferId) -> Step {
        let op = Unary { function: Function::Neg, input }.into();
        Step { name: String::new(), op, output, phase }
    }

    #[test]
    fn a_buffer_is_live_from_its_first_write_to_its_last_read() {
        let mut program = Program::default();
        let [a, b, c, d] = [1, 2, 3, 4].map(|length| program.add_buffer(length));
        program.inputs = vec![a];
        program.outputs = vec![d];
        program.steps = vec![step(0, a, b), step(0, b, c), step(0, b, d)];
        let lives: Vec<_> = lives(&program).iter().map(|life| (life.first, life.last)).collect();
        assert_eq!(lives, [(0, 0), (0, 2), (1, 1), (2, 3)]);
    }

    #[test]
    fn what_the_last_phase_reads_of_earlier_ones_lives_to_the_end() {
        let mut program = Program::default();
        let [a, b, seed, c, d] = [1; 5].map(|length| program.add_buffer(length));
        program.inputs = vec![a, seed];
        program.outputs = vec![d];
        let op = Fill { value: 1.0 }.into();
        let fill = Step { name: String::new(), op, output: c, phase: 1 };
        program.steps = vec![step(0, a, b), step(1, b, c), fill, step(1, seed, d)];
        let lives: Vec<_> = lives(&program).iter().map(|life| (life.first, life.last)).collect();
        assert_eq!(lives, [(0, 0), (0, 4), (1, 3), (1, 2), (3, 4)]);
    }
}
