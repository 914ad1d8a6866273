use super::context::Reads;
use super::operation::{Operation, Resident, Work};
use super::{BufferId, RunContext};
use crate::RunError;
use crate::arena::CACHE_LINE;
use crate::threads::SharedOutput;
use crate::weights::ConvWeights;
use derm_kernels::{Activation, After, ConvShape};

/// Convolution or matrix product with weights that are known, and its epilogue. A product is a
/// convolution of one tap over one row.
#[derive(Debug)]
pub(crate) struct Conv {
    pub(crate) weights: ConvWeights,
    pub(crate) shape: ConvShape,
    pub(crate) input: BufferId,
    pub(crate) epilogue: Vec<EpilogueOp>,
}

/// One operation of an epilogue: what is done to a convolution's sums before they are written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum EpilogueOp {
    /// Applies a function to each value.
    Unary(Activation),
    /// Adds a buffer of the output's shape.
    Add(BufferId),
    /// Multiplies by the derivative of a function at the values of a buffer of the output's shape.
    Derivative(Activation, BufferId),
}

impl EpilogueOp {
    /// The function, if it is one and reads no buffer.
    pub(crate) fn unary(&self) -> Option<Activation> {
        match self {
            EpilogueOp::Unary(activation) => Some(*activation),
            EpilogueOp::Add(_) | EpilogueOp::Derivative(..) => None,
        }
    }

    /// The buffer that it reads.
    pub(crate) fn buffer(&self) -> Option<BufferId> {
        match self {
            EpilogueOp::Add(buffer) | EpilogueOp::Derivative(_, buffer) => Some(*buffer),
            EpilogueOp::Unary(_) => None,
        }
    }

    /// With its buffer opened.
    pub(super) fn open<'a>(&self, reads: &Reads<'a>) -> After<'a> {
        match self {
            EpilogueOp::Unary(activation) => After::Activate(*activation),
            EpilogueOp::Add(buffer) => After::Add(reads.get(*buffer)),
            EpilogueOp::Derivative(activation, buffer) => {
                After::Differentiate(*activation, reads.get(*buffer))
            }
        }
    }
}

impl Operation for Conv {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        visit(self.input);
        self.epilogue.iter().filter_map(EpilogueOp::buffer).for_each(visit);
    }

    fn resident(&self, visit: &mut dyn FnMut(Resident)) {
        visit(self.weights.resident());
    }

    fn scratch(&self, threads: usize) -> usize {
        self.weights.scratch(&self.shape).next_multiple_of(CACHE_LINE) * threads
    }

    fn work(&self) -> Work {
        self.weights.work(&self.shape)
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let team = context.team;
        let (output, scratch, reads) = context.open();
        let input = reads.get(self.input);
        let epilogue: Vec<After<'_>> = self.epilogue.iter().map(|op| op.open(&reads)).collect();
        let output = SharedOutput(output.as_mut_ptr());
        team.share(self.weights.units(&self.shape), scratch, |part, scratch| {
            // SAFETY: `share` gives each unit to one thread, and the output is ours alone.
            unsafe {
                self.weights.run_part(&self.shape, input, output.get(), &epilogue, scratch, part);
            }
        });
        Ok(())
    }
}
