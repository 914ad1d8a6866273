//! Definitions and uses: which step writes a buffer, and which steps read it.

use super::{BufferId, Program};

/// Where a buffer gets its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Definition {
    /// It is the input of a phase.
    Input(usize),
    /// The last of the steps that write it.
    Step(usize),
}

/// For each buffer of a program its definition and its uses, by the indices of steps.
#[derive(Debug)]
pub(crate) struct DefUse {
    definitions: Vec<Option<Definition>>,
    /// How many steps write it (a concatenation is written by one step an operand).
    writers: Vec<usize>,
    readers: Vec<Vec<usize>>,
    is_output: Vec<bool>,
    phases: Vec<usize>,
}

impl DefUse {
    /// The definitions and uses of `program`.
    pub(crate) fn of(program: &Program) -> DefUse {
        let count = program.buffers().len();
        let mut definitions = vec![None; count];
        let (mut writers, mut readers) = (vec![0; count], vec![Vec::new(); count]);
        let mut is_output = vec![false; count];
        for (phase, input) in program.inputs.iter().enumerate() {
            definitions[input.index()] = Some(Definition::Input(phase));
        }
        for (index, step) in program.steps.iter().enumerate() {
            step.writes(&mut |buffer| {
                definitions[buffer.index()] = Some(Definition::Step(index));
                writers[buffer.index()] += 1;
            });
            step.op.reads(&mut |buffer| readers[buffer.index()].push(index));
        }
        for output in &program.outputs {
            is_output[output.index()] = true;
        }
        let phases = program.steps.iter().map(|step| step.phase).collect();
        DefUse { definitions, writers, readers, is_output, phases }
    }

    /// The step that alone writes `buffer`, if nobody but one operand of one step reads it. Whatever
    /// that step does to the values, the writing step may do instead.
    pub(crate) fn private_writer(&self, buffer: BufferId) -> Option<usize> {
        let index = buffer.index();
        let is_private = !self.is_output[index] && self.readers[index].len() == 1;
        match self.definitions[index]? {
            Definition::Step(step) if is_private && self.writers[index] == 1 => Some(step),
            _ => None,
        }
    }

    /// Whether `buffer` holds its values before the step at `step` begins.
    pub(crate) fn is_defined_before(&self, buffer: BufferId, step: usize) -> bool {
        match self.definitions[buffer.index()] {
            Some(Definition::Input(phase)) => phase <= self.phases[step],
            Some(Definition::Step(writer)) => writer < step,
            None => false,
        }
    }

    /// Records that the step at `step` now writes `buffer`.
    pub(crate) fn redefine(&mut self, buffer: BufferId, step: usize) {
        self.definitions[buffer.index()] = Some(Definition::Step(step));
    }
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
    fn the_input_of_a_phase_is_defined_where_the_phase_begins() {
        let mut program = Program::default();
        let [a, b, seed, c] = [1; 4].map(|length| program.add_buffer(length));
        program.inputs = vec![a, seed];
        program.steps = vec![step(0, a, b), step(1, seed, c)];
        let uses = DefUse::of(&program);
        assert!(uses.is_defined_before(a, 0) && uses.is_defined_before(a, 1));
        assert!(!uses.is_defined_before(seed, 0) && uses.is_defined_before(seed, 1));
        assert!(!uses.is_defined_before(b, 0) && uses.is_defined_before(b, 1));
    }

    #[test]
    fn a_writer_is_private_if_one_step_reads_once_what_one_step_writes() {
        let mut program = Program::default();
        let [a, b, c, d, e] = [1; 5].map(|length| program.add_buffer(length));
        program.inputs = vec![a];
        program.outputs = vec![e];
        let fill =
            Step { name: String::new(), op: Fill { value: 0.0 }.into(), output: d, phase: 0 };
        // b is read once, c twice, d is written twice, e is an output.
        program.steps = vec![step(0, a, b), step(0, b, c), step(0, c, d), fill, step(0, c, e)];
        let uses = DefUse::of(&program);
        assert_eq!(uses.private_writer(b), Some(0));
        for buffer in [a, c, d, e] {
            assert_eq!(uses.private_writer(buffer), None, "{buffer:?}");
        }
    }
}
