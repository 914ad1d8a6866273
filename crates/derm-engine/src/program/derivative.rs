use super::operation::{Operation, Resident, Work};
use super::{BufferId, RunContext};
use crate::RunError;
use derm_kernels::Unary;

/// Derivative: multiplies gradients by the derivative of a function at the values.
#[derive(Debug)]
pub(crate) struct Derivative {
    pub(crate) function: Unary,
    pub(crate) values: BufferId,
    pub(crate) gradients: BufferId,
}

impl Operation for Derivative {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        visit(self.values);
        visit(self.gradients);
    }

    fn resident(&self, _visit: &mut dyn FnMut(Resident)) {}

    fn in_place(&self) -> [Option<BufferId>; 2] {
        // Not where it is multiplied by its own derivative: the values would be overwritten.
        [(self.values != self.gradients).then_some(self.gradients), None]
    }

    fn work(&self) -> Work {
        "derivative".into()
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let isa = context.isa;
        context.output_from(self.gradients);
        let (output, _, reads) = context.open();
        self.function.multiply_by_derivative(isa, reads.get(self.values), output);
        Ok(())
    }
}
