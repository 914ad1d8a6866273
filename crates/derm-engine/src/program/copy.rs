use super::operation::{Operation, Resident, Work};
use super::{BufferId, Element, Operand, RunContext};
use crate::RunError;
use bytemuck::{cast_slice, cast_slice_mut};

/// Where the blocks of a [`Copy`] lie in a buffer: block `[i, j]` at
/// `start + i * strides[0] + j * strides[1]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Strided {
    pub(crate) start: usize,
    pub(crate) strides: [usize; 2],
}

impl Strided {
    fn offset(&self, i: usize, j: usize) -> usize {
        self.start + i * self.strides[0] + j * self.strides[1]
    }
}

/// Strided copy: copies `[a, b]` blocks of contiguous values and leaves the rest of the output as
/// it is.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) input: Operand,
    /// What the offsets and lengths count.
    pub(crate) element: Element,
    /// `[a, b, values of a block]`.
    pub(crate) blocks: [usize; 3],
    pub(crate) from: Strided,
    pub(crate) to: Strided,
}

impl Copy {
    /// Copies numbers that are known, all of them in one block.
    pub(crate) fn of_constant(values: Vec<f32>) -> Copy {
        let blocks = [1, 1, values.len()];
        let (input, element) = (Operand::Constant(values.into()), Element::F32);
        Copy { input, element, blocks, from: Strided::default(), to: Strided::default() }
    }
}

impl Operation for Copy {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        self.input.buffer().into_iter().for_each(visit);
    }

    fn resident(&self, visit: &mut dyn FnMut(Resident)) {
        self.input.resident().into_iter().for_each(visit);
    }

    fn work(&self) -> Work {
        "copy".into()
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let (output, _, reads) = context.open();
        let input = match &self.input {
            Operand::Buffer(input) => reads.get(*input),
            Operand::Constant(values) => values,
        };
        match self.element {
            Element::F32 => self.copy(input, output),
            Element::U8 => self.copy::<u8>(cast_slice(input), cast_slice_mut(output)),
        }
        Ok(())
    }
}

impl Copy {
    fn copy<T: Clone + std::marker::Copy>(&self, input: &[T], output: &mut [T]) {
        let [a, b, block] = self.blocks;
        for (i, j) in (0..a).flat_map(|i| (0..b).map(move |j| (i, j))) {
            let (from, to) = (self.from.offset(i, j), self.to.offset(i, j));
            output[to..to + block].copy_from_slice(&input[from..from + block]);
        }
    }
}

/// Fill: sets every value of the output to one number.
#[derive(Debug)]
pub(crate) struct Fill {
    pub(crate) value: f32,
}

impl Operation for Fill {
    fn reads(&self, _visit: &mut dyn FnMut(BufferId)) {}

    fn resident(&self, _visit: &mut dyn FnMut(Resident)) {}

    fn work(&self) -> Work {
        "copy".into()
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        context.open().0.fill(self.value);
        Ok(())
    }
}
