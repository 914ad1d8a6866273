//! The memory of a run: the arena, and what one step may read and write of it.

use super::opaque::OpaqueValues;
use super::{BufferId, Program, Step};
use crate::arena::Interval;
use crate::threads::Team;
use derm_kernels::Isa;
use std::marker::PhantomData;
use std::ops::Range;

/// Where each buffer of a program, and the scratch of each step, lies in an arena.
#[derive(Debug)]
pub(crate) struct Layout {
    buffers: Vec<Range<usize>>,
    scratch: Vec<Range<usize>>,
    length: usize,
}

impl Layout {
    /// Plans the memory of a program.
    ///
    /// `lives`: the interval of each buffer; `owners`: the buffer whose memory each one uses, which
    /// is another's where it is computed in place; `scratch`: the interval of each step's scratch.
    pub(crate) fn plan(lives: &[Interval], owners: &[BufferId], scratch: &[Interval]) -> Layout {
        let (ranges, length) = crate::arena::plan(&[lives, scratch].concat());
        let (own, scratch) = ranges.split_at(lives.len());
        let buffers = owners.iter().map(|owner| own[owner.index()].clone()).collect();
        Layout { buffers, scratch: scratch.to_vec(), length }
    }

    /// Where a buffer lies.
    pub(crate) fn range(&self, buffer: BufferId) -> Range<usize> {
        self.buffers[buffer.index()].clone()
    }

    /// Float32 values of an arena.
    pub(crate) fn length(&self) -> usize {
        self.length
    }
}

/// The memory of one run at a time. Pages that no run has touched yet take none.
#[derive(Debug)]
pub struct Arena {
    values: Vec<f32>,
    opaque: OpaqueValues,
}

impl Arena {
    pub(crate) fn new(layout: &Layout, program: &Program) -> Arena {
        // Zeroed by the kernel, page by page, when first touched.
        let opaque = OpaqueValues::new(program.opaque_values);
        Arena { values: vec![0.0; layout.length], opaque }
    }

    /// The values in a range of it.
    pub(crate) fn slice(&self, range: Range<usize>) -> &[f32] {
        &self.values[range]
    }

    /// As [`Arena::slice`], to be written.
    pub(crate) fn slice_mut(&mut self, range: Range<usize>) -> &mut [f32] {
        &mut self.values[range]
    }

    /// What the step at `index` gets of it.
    ///
    /// # Panics
    /// If it was made for another layout.
    pub(crate) fn context<'a>(
        &'a mut self,
        layout: &'a Layout,
        (index, step): (usize, &'a Step),
        isa: Isa,
        team: &'a Team<'a>,
    ) -> RunContext<'a> {
        assert_eq!(self.values.len(), layout.length, "an arena of another engine");
        let scratch = layout.scratch[index].clone();
        RunContext {
            isa,
            team,
            step,
            values: &mut self.values,
            scratch,
            layout,
            opaque: &mut self.opaque,
        }
    }
}

/// What one step runs with.
pub(crate) struct RunContext<'a> {
    pub(crate) isa: Isa,
    pub(crate) team: &'a Team<'a>,
    /// The step itself.
    pub(crate) step: &'a Step,
    pub(crate) opaque: &'a mut OpaqueValues,
    values: &'a mut [f32],
    scratch: Range<usize>,
    layout: &'a Layout,
}

impl RunContext<'_> {
    /// The step's output, its scratch, and the buffers that it may read at the same time.
    ///
    /// # Panics
    /// If the output and the scratch overlap: the plan would be wrong.
    pub(crate) fn open(&mut self) -> (&mut [f32], &mut [f32], Reads<'_>) {
        let output = self.layout.range(self.step.output);
        let scratch = self.scratch.clone();
        assert!(apart(&output, &scratch), "a step's output and scratch overlap");
        let base = self.values.as_mut_ptr();
        let length = self.values.len();
        assert!(output.end <= length && scratch.end <= length);
        let reads = Reads {
            base,
            length,
            layout: self.layout,
            written: [output.clone(), scratch.clone()],
            arena: PhantomData,
        };
        // SAFETY: both ranges lie inside `values`, which is borrowed mutably for as long as the
        // slices live, and do not overlap; `Reads` hands out no range that overlaps either.
        let [output, scratch] = [output, scratch].map(|range| unsafe {
            std::slice::from_raw_parts_mut(base.add(range.start), range.len())
        });
        (output, scratch, reads)
    }

    /// The step's output, and one buffer that it reads.
    ///
    /// # Panics
    /// If they overlap.
    pub(crate) fn open_one(&mut self, input: BufferId) -> (&mut [f32], &[f32]) {
        let (output, _, reads) = self.open();
        (output, reads.get(input))
    }

    /// The step's output, holding the values of `input`: copied, unless it took over its memory.
    pub(crate) fn output_from(&mut self, input: BufferId) -> &mut [f32] {
        let (from, to) = (self.layout.range(input), self.layout.range(self.step.output));
        if from != to {
            self.values.copy_within(from, to.start);
        }
        &mut self.values[to]
    }

    /// Any buffer, to be read.
    pub(crate) fn read(&self, buffer: BufferId) -> &[f32] {
        &self.values[self.layout.range(buffer)]
    }

    /// Any buffer, to be written.
    pub(crate) fn write(&mut self, buffer: BufferId) -> &mut [f32] {
        &mut self.values[self.layout.range(buffer)]
    }
}

/// The buffers that a step may read while it holds its output and its scratch.
pub(crate) struct Reads<'a> {
    base: *const f32,
    length: usize,
    layout: &'a Layout,
    written: [Range<usize>; 2],
    arena: PhantomData<&'a [f32]>,
}

impl<'a> Reads<'a> {
    /// The values of a buffer; `None` where the output took over its memory and holds them.
    ///
    /// # Panics
    /// If it overlaps the output or the scratch in part: the plan would be wrong.
    pub(crate) fn get_unless_output(&self, buffer: BufferId) -> Option<&'a [f32]> {
        let range = self.layout.range(buffer);
        if range == self.written[0] && !range.is_empty() {
            return None;
        }
        assert!(self.written.iter().all(|written| apart(&range, written)), "live buffers overlap");
        assert!(range.end <= self.length);
        // SAFETY: the range lies inside the arena, which is borrowed for 'a, and overlaps neither
        // of the two slices of it that may be written meanwhile.
        Some(unsafe { std::slice::from_raw_parts(self.base.add(range.start), range.len()) })
    }

    /// The values of a buffer.
    ///
    /// # Panics
    /// As [`Reads::get_unless_output`], and if the output took over its memory.
    pub(crate) fn get(&self, buffer: BufferId) -> &'a [f32] {
        self.get_unless_output(buffer).expect("an operand that is not replaced in place")
    }
}

fn apart(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.is_empty() || b.is_empty() || a.end <= b.start || b.end <= a.start
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ThreadPool;
    use crate::program::{Fill, Unary};
    use derm_kernels::Unary as Function;

    fn program(shared: bool) -> (Program, Layout, [BufferId; 2]) {
        let mut program = Program::default();
        let [a, b] = [program.add_buffer(20), program.add_buffer(20)];
        let op = Unary { function: Function::Neg, input: a }.into();
        program.steps.push(Step { name: "negate".to_owned(), op, output: b, phase: 0 });
        let life = Interval { length: 20, first: 0, last: 1 };
        let owners = if shared { [a, a] } else { [a, b] };
        let layout = Layout::plan(&[life; 2], &owners, &[Interval { length: 5, ..life }]);
        (program, layout, [a, b])
    }

    fn with_context(shared: bool, test: impl FnOnce(RunContext<'_>, [BufferId; 2])) {
        let (program, layout, buffers) = program(shared);
        let mut arena = Arena::new(&layout, &program);
        let threads = ThreadPool::SINGLE;
        let team = threads.begin();
        test(arena.context(&layout, (0, &program.steps[0]), Isa::best(), &team), buffers);
    }

    #[test]
    fn slices_are_the_buffers_and_the_scratch() {
        with_context(false, |mut context, [a, b]| {
            context.write(a).fill(1.0);
            context.write(b).fill(2.0);
            let (output, scratch, reads) = context.open();
            scratch.fill(3.0);
            assert_eq!((output.len(), output[19], scratch.len()), (20, 2.0, 5));
            assert_eq!(reads.get(a), [1.0; 20]);
        });
    }

    #[test]
    fn an_operand_in_the_outputs_memory_is_the_output() {
        with_context(true, |mut context, [a, b]| {
            context.write(a).fill(1.0);
            assert!(context.open().2.get_unless_output(a).is_none());
            assert_eq!(context.output_from(a), [1.0; 20]);
            assert_eq!(context.read(b), [1.0; 20]);
        });
    }

    #[test]
    #[should_panic(expected = "another engine")]
    fn an_arena_of_another_layout_is_refused() {
        let (program, layout, _) = program(false);
        let empty = Layout::plan(&[], &[], &[]);
        let mut other = Program::default();
        let output = other.add_buffer(0);
        other.steps.push(Step {
            name: String::new(),
            op: Fill { value: 0.0 }.into(),
            output,
            phase: 0,
        });
        let mut arena = Arena::new(&empty, &other);
        let threads = ThreadPool::SINGLE;
        let team = threads.begin();
        let _ = arena.context(&layout, (0, &program.steps[0]), Isa::best(), &team);
    }
}
