use super::operation::{Operation, Resident, Work};
use super::{BufferId, RunContext};
use crate::RunError;
use derm_kernels::Activation;

/// Unary: applies a function to each value.
#[derive(Debug)]
pub(crate) struct Unary {
    pub(crate) activation: Activation,
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
        "activation".into()
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let isa = context.isa;
        derm_kernels::activate(isa, self.activation, context.output_from(self.input));
        Ok(())
    }
}
