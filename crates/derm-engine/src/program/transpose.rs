use super::operation::{Operation, Resident, Work};
use super::{BufferId, RunContext};
use crate::RunError;

/// Transpose: copies a tensor with its axes permuted.
#[derive(Debug)]
pub(crate) struct Transpose {
    /// Of the input, as it lies in memory.
    pub(crate) shape: Vec<usize>,
    /// The input's axes in the order in which the output has them.
    pub(crate) order: Vec<usize>,
    pub(crate) input: BufferId,
}

impl Operation for Transpose {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        visit(self.input);
    }

    fn resident(&self, _visit: &mut dyn FnMut(Resident)) {}

    fn work(&self) -> Work {
        "transposition".into()
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let (output, input) = context.open_one(self.input);
        derm_kernels::transpose(&self.shape, &self.order, input, output);
        Ok(())
    }
}
