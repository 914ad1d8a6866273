use super::operation::{Operation, Resident, Work};
use super::{BufferId, Operand, RunContext};
use crate::RunError;
use derm_kernels::{BinaryOp, BroadcastAxis};

/// Binary: applies a function to each pair of values, with broadcasting.
#[derive(Debug)]
pub(crate) struct Binary {
    pub(crate) op: BinaryOp,
    pub(crate) axes: Vec<BroadcastAxis>,
    pub(crate) left: Operand,
    pub(crate) right: Operand,
}

impl Operation for Binary {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        [&self.left, &self.right].into_iter().filter_map(Operand::buffer).for_each(visit);
    }

    fn resident(&self, visit: &mut dyn FnMut(Resident)) {
        [&self.left, &self.right].into_iter().filter_map(Operand::resident).for_each(visit);
    }

    fn in_place(&self) -> [Option<BufferId>; 2] {
        [self.left.buffer(), self.right.buffer()]
    }

    fn work(&self) -> Work {
        Work::float(format!("{:?}", self.op), 0)
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let isa = context.isa;
        let (output, _, reads) = context.open();
        // `None` is the output itself, which took over the operand's memory.
        let [left, right] = [&self.left, &self.right].map(|operand| match operand {
            Operand::Buffer(buffer) => reads.get_unless_output(*buffer),
            Operand::Constant(values) => Some(&values[..]),
        });
        derm_kernels::binary(isa, self.op, &self.axes, left, right, output);
        Ok(())
    }
}
