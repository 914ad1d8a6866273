use super::operation::{Operation, Resident, Work};
use super::{BufferId, RunContext};
use crate::RunError;

/// Fake quantisation: rounds all values to 8 bits, over the range that they have.
#[derive(Debug)]
pub(crate) struct FakeQuantize {
    pub(crate) input: BufferId,
}

impl Operation for FakeQuantize {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        visit(self.input);
    }

    fn resident(&self, _visit: &mut dyn FnMut(Resident)) {}

    fn in_place(&self) -> [Option<BufferId>; 2] {
        [Some(self.input), None]
    }

    fn work(&self) -> Work {
        "fake quantisation".into()
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let isa = context.isa;
        derm_kernels::fake_quantize(isa, context.output_from(self.input));
        Ok(())
    }
}
