use super::operation::{Operation, Resident, Work};
use super::{BufferId, RunContext};
use crate::RunError;
use derm_kernels::Reduction;

/// Reduction: reduces `[outer, reduced, inner]` to `[outer, inner]`.
#[derive(Debug)]
pub(crate) struct Reduce {
    pub(crate) reduction: Reduction,
    pub(crate) shape: [usize; 3],
    pub(crate) input: BufferId,
}

impl Operation for Reduce {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        visit(self.input);
    }

    fn resident(&self, _visit: &mut dyn FnMut(Resident)) {}

    fn work(&self) -> Work {
        "reduction".into()
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let isa = context.isa;
        let (output, input) = context.open_one(self.input);
        derm_kernels::reduce(isa, self.reduction, self.shape, input, output);
        Ok(())
    }
}
