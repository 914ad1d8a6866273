//! Fallback operators: what the engine has no operation for is evaluated by tract, on copies.

use super::opaque::OpaqueId;
use super::operation::{Operation, Resident, Work};
use super::{BufferId, RunContext};
use crate::RunError;
use std::sync::Arc;
use tract_onnx::prelude::tract_ndarray::ArrayViewD;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{IntoTensor, TractErrorContext, ensure};
use tract_onnx::tract_core::ops::TypedOp;

/// Fallback: an operator that tract evaluates. Slow, since every operand and result is copied, but
/// right.
#[derive(Debug)]
pub(crate) struct Fallback {
    pub(crate) op: Box<dyn TypedOp>,
    pub(crate) evaluator: Evaluator,
    pub(crate) operands: Vec<FallbackOperand>,
    pub(crate) outputs: Vec<FallbackOutput>,
}

/// How a fallback operator is evaluated.
#[derive(Debug)]
pub(crate) enum Evaluator {
    /// By itself.
    Operator,
    /// As a graph of one node: it keeps a state while it runs (the recurrent operators).
    Graph(Arc<TypedRunnableModel>),
}

/// What a fallback operator reads.
#[derive(Debug)]
pub(crate) enum FallbackOperand {
    Constant(Arc<Tensor>),
    Buffer(BufferId, Vec<usize>),
    Bytes(Bytes),
    Opaque(OpaqueId),
}

/// An 8-bit value whose axes lie in any order.
#[derive(Debug)]
pub(crate) struct Bytes {
    pub(crate) buffer: BufferId,
    /// The shape as it lies in memory, and the index there of each axis of the graph.
    pub(crate) physical: Vec<usize>,
    pub(crate) axes: Vec<usize>,
    /// Whether the graph's values are signed: they are held as `q + 128`.
    pub(crate) is_signed: bool,
}

impl Bytes {
    fn value(&self, context: &RunContext<'_>) -> TractResult<TValue> {
        let count = self.physical.iter().product();
        let bytes = &bytemuck::cast_slice::<f32, u8>(context.read(self.buffer))[..count];
        let view = ArrayViewD::from_shape(&self.physical[..], bytes)?;
        let view = view.permuted_axes(&self.axes[..]);
        Ok(if self.is_signed {
            view.mapv(|value| (value ^ 0x80) as i8).into_tensor().into_tvalue()
        } else {
            view.to_owned().into_tensor().into_tvalue()
        })
    }
}

/// Where a result of a fallback operator goes.
#[derive(Debug)]
pub(crate) enum FallbackOutput {
    Buffer(BufferId),
    Opaque(OpaqueId),
}

impl FallbackOutput {
    /// The buffer that it is.
    pub(crate) fn buffer(&self) -> Option<BufferId> {
        match self {
            FallbackOutput::Buffer(buffer) => Some(*buffer),
            FallbackOutput::Opaque(_) => None,
        }
    }
}

impl Operation for Fallback {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        for operand in &self.operands {
            match operand {
                FallbackOperand::Buffer(buffer, _) => visit(*buffer),
                FallbackOperand::Bytes(bytes) => visit(bytes.buffer),
                FallbackOperand::Constant(_) | FallbackOperand::Opaque(_) => {}
            }
        }
    }

    fn other_outputs(&self, visit: &mut dyn FnMut(BufferId)) {
        // The first buffer is the step's output.
        self.outputs.iter().filter_map(FallbackOutput::buffer).skip(1).for_each(visit);
    }

    fn resident(&self, visit: &mut dyn FnMut(Resident)) {
        for operand in &self.operands {
            if let FallbackOperand::Constant(tensor) = operand {
                let bytes = tensor.len() * tensor.datum_type().size_of();
                visit(Resident { identity: Arc::as_ptr(tensor).addr(), bytes });
            }
        }
    }

    fn temporary(&self, length: &dyn Fn(BufferId) -> usize, _threads: usize) -> usize {
        let mut values = 0;
        let mut add = |buffer: BufferId| values += length(buffer);
        self.reads(&mut add);
        self.outputs.iter().filter_map(FallbackOutput::buffer).for_each(add);
        size_of::<f32>() * values
    }

    fn work(&self) -> Work {
        Work::float(format!("tract's {}", self.op.name()), 0)
    }

    fn fallback(&self) -> Option<String> {
        Some(self.op.name().to_string())
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        self.evaluate(context).map_err(|error| RunError {
            node: context.step.name.clone(),
            cause: format!("{error:#}"),
        })
    }
}

impl Fallback {
    fn evaluate(&self, context: &mut RunContext<'_>) -> TractResult<()> {
        let operands = self.operands.iter().map(|operand| operand.value(context));
        let operands = operands.collect::<TractResult<TVec<TValue>>>()?;
        let results = match &self.evaluator {
            Evaluator::Operator => {
                let results = self.op.eval_out_of_plan(operands)?;
                results.context("it cannot be evaluated by itself")?
            }
            Evaluator::Graph(graph) => graph.run(operands)?,
        };
        for (result, output) in results.into_iter().zip(&self.outputs) {
            match output {
                FallbackOutput::Opaque(id) => context.opaque.set(*id, result),
                FallbackOutput::Buffer(buffer) => {
                    let view = result.to_plain_array_view::<f32>()?;
                    let to = context.write(*buffer);
                    ensure!(view.len() == to.len(), "a result of another length than declared");
                    to.iter_mut().zip(view).for_each(|(to, from)| *to = *from);
                }
            }
        }
        Ok(())
    }
}

impl FallbackOperand {
    fn value(&self, context: &RunContext<'_>) -> TractResult<TValue> {
        Ok(match self {
            FallbackOperand::Constant(tensor) => Arc::clone(tensor).into_tvalue(),
            FallbackOperand::Buffer(buffer, shape) => {
                Tensor::from_shape(shape, context.read(*buffer))?.into_tvalue()
            }
            FallbackOperand::Bytes(bytes) => bytes.value(context)?,
            FallbackOperand::Opaque(id) => {
                let value =
                    context.opaque.get(*id).context("a value is read before it is computed")?;
                value.clone()
            }
        })
    }
}
