use super::context::Reads;
use super::operation::{Operation, Resident, Work};
use super::{BufferId, RunContext};
use crate::RunError;
use crate::arena::CACHE_LINE;
use derm_kernels::{ConvCall, ConvPlan, Epilogue, SharedOutput, Unary};

/// Convolution or matrix product with constant weights, and its epilogue. A product is a convolution
/// of one tap over one row.
#[derive(Debug)]
pub(crate) struct Conv {
    pub(crate) plan: ConvPlan,
    pub(crate) input: BufferId,
    pub(crate) epilogue: Vec<EpilogueOp>,
}

/// One operation of an epilogue: what is done to a convolution's sums before they are written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum EpilogueOp {
    /// Applies a function to each value.
    Unary(Unary),
    /// Adds a buffer of the output's shape.
    Add(BufferId),
    /// Multiplies by the derivative of a function at the values of a buffer of the output's shape.
    Derivative(Unary, BufferId),
}

impl EpilogueOp {
    /// The function, if it is one and reads no buffer.
    pub(crate) fn unary(&self) -> Option<Unary> {
        match self {
            EpilogueOp::Unary(function) => Some(*function),
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
    pub(super) fn open<'a>(&self, reads: &Reads<'a>) -> Epilogue<'a> {
        match self {
            EpilogueOp::Unary(function) => Epilogue::Unary(*function),
            EpilogueOp::Add(buffer) => Epilogue::Add(reads.get(*buffer)),
            EpilogueOp::Derivative(function, buffer) => {
                Epilogue::MultiplyByDerivative(*function, reads.get(*buffer))
            }
        }
    }
}

/// The packed weights of a plan.
pub(super) fn resident(plan: &ConvPlan) -> Resident {
    Resident { identity: plan.weights().identity(), bytes: plan.weights().bytes() }
}

impl Operation for Conv {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        visit(self.input);
        self.epilogue.iter().filter_map(EpilogueOp::buffer).for_each(visit);
    }

    fn resident(&self, visit: &mut dyn FnMut(Resident)) {
        visit(resident(&self.plan));
    }

    fn scratch(&self, threads: usize) -> usize {
        self.plan.scratch_len().next_multiple_of(CACHE_LINE) * threads
    }

    fn work(&self) -> Work {
        Work::float(self.plan.to_string(), self.plan.flops())
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let team = context.team;
        let (output, scratch, reads) = context.open();
        let input = reads.get(self.input);
        let epilogue: Vec<Epilogue<'_>> = self.epilogue.iter().map(|op| op.open(&reads)).collect();
        let output = SharedOutput::new(output);
        team.share(self.plan.units(), scratch, |units, scratch| {
            // SAFETY: `share` gives each unit to one thread, and all of them run this plan.
            let output = unsafe { output.part(units) };
            self.plan.run(ConvCall { input, output, epilogue: &epilogue, scratch });
        });
        Ok(())
    }
}
