use super::operation::{Operation, Resident, Work};
use super::{BufferId, RunContext};
use crate::RunError;

/// Unary: applies a function to each value.
#[derive(Debug)]
pub(crate) struct Unary {
    pub(crate) function: derm_kernels::Unary,
    pub(crate) input: BufferId,
}

impl Operation for Unary {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        visit(self.input);
    }

    fn resident(&self, _visit: &mut dyn FnMut(Resident)) {}

    fn in_place(&self) -> [Option<BufferId>; 2] {
        [Some(self.input), None]
    }

    fn work(&self) -> Work {
        self.function.name().into()
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let isa = context.isa;
        self.function.apply(isa, context.output_from(self.input));
        Ok(())
    }
}
