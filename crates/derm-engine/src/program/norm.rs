use super::operation::{Operation, Resident, Work};
use super::{BufferId, RunContext};
use crate::RunError;

/// RMS normalisation: divides each row of `width` values by the root of its mean square.
#[derive(Debug)]
pub(crate) struct RmsNorm {
    pub(crate) width: usize,
    /// Added to the mean square.
    pub(crate) epsilon: f32,
    pub(crate) input: BufferId,
}

impl Operation for RmsNorm {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        visit(self.input);
    }

    fn resident(&self, _visit: &mut dyn FnMut(Resident)) {}

    fn in_place(&self) -> [Option<BufferId>; 2] {
        [Some(self.input), None]
    }

    fn work(&self) -> Work {
        "normalisation".into()
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let isa = context.isa;
        derm_kernels::rms_norm(isa, self.width, self.epsilon, context.output_from(self.input));
        Ok(())
    }
}
