use super::operation::{Operation, Resident, Work};
use super::{BufferId, RunContext};
use crate::RunError;

/// Softmax: normalises the exponentials of each row of `width` values to a sum of one.
#[derive(Debug)]
pub(crate) struct Softmax {
    pub(crate) width: usize,
    pub(crate) input: BufferId,
}

impl Operation for Softmax {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        visit(self.input);
    }

    fn resident(&self, _visit: &mut dyn FnMut(Resident)) {}

    fn in_place(&self) -> [Option<BufferId>; 2] {
        [Some(self.input), None]
    }

    fn work(&self) -> Work {
        "softmax".into()
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let isa = context.isa;
        derm_kernels::softmax(isa, self.width, context.output_from(self.input));
        Ok(())
    }
}
