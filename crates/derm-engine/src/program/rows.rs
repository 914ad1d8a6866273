use super::operation::{Operation, Resident, Work};
use super::{BufferId, RunContext};
use crate::RunError;

/// Row function: applied to each row of values, in place.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) function: RowFunction,
    pub(crate) input: BufferId,
}

/// Row functions: each reads all values of a row before it writes one.
#[derive(Debug)]
pub(crate) enum RowFunction {
    /// Softmax: normalises the exponentials of each row to a sum of one.
    Softmax { width: usize },
    /// RMS normalisation: divides each row by the root of its mean square, to which `epsilon` is added.
    RmsNorm { width: usize, epsilon: f32 },
    /// Fake quantisation: rounds all values to 8 bits, over the range that they have.
    FakeQuantize,
}

impl Operation for Rows {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        visit(self.input);
    }

    fn resident(&self, _visit: &mut dyn FnMut(Resident)) {}

    fn in_place(&self) -> [Option<BufferId>; 2] {
        [Some(self.input), None]
    }

    fn work(&self) -> Work {
        match self.function {
            RowFunction::Softmax { .. } => "softmax".into(),
            RowFunction::RmsNorm { .. } => "normalisation".into(),
            RowFunction::FakeQuantize => "fake quantisation".into(),
        }
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let (isa, team) = (context.isa, context.team);
        let values = context.output_from(self.input);
        match self.function {
            RowFunction::Softmax { width } => {
                team.share_rows(width, values, |_, rows| derm_kernels::softmax(isa, width, rows));
            }
            RowFunction::RmsNorm { width, epsilon } => team.share_rows(width, values, |_, rows| {
                derm_kernels::rms_norm(isa, width, epsilon, rows);
            }),
            RowFunction::FakeQuantize => derm_kernels::fake_quantize(isa, values),
        }
        Ok(())
    }
}
