//! The program: steps on buffers. Lowering writes it, passes rewrite it, the engine runs it.

mod binary;
mod context;
mod conv;
mod conv_chain;
mod copy;
mod def_use;
mod derivative;
mod fallback;
mod int8;
mod matmul;
mod opaque;
mod operand;
mod operation;
mod pool;
mod reduce;
mod rows;
mod transpose;
mod unary;

pub(crate) use binary::Binary;
pub use context::Arena;
pub(crate) use context::{Layout, RunContext};
pub(crate) use conv::{Conv, EpilogueOp};
pub(crate) use conv_chain::{ConvChain, Stage};
pub(crate) use copy::{Copy, Fill, Strided};
pub(crate) use def_use::DefUse;
pub(crate) use derivative::Derivative;
pub(crate) use fallback::{Bytes, Evaluator, Fallback, FallbackOperand, FallbackOutput};
pub(crate) use int8::{
    Dequantize, Int8Add, Int8Conv, Int8EpilogueOp, Int8Mul, Int8Pool, Int8Table, Quantize,
};
pub(crate) use matmul::MatMul;
pub(crate) use opaque::OpaqueId;
pub(crate) use operand::Operand;
pub(crate) use operation::{Op, Resident, Work};
pub(crate) use pool::{Pool, PoolGradient};
pub(crate) use reduce::Reduce;
pub(crate) use rows::{RowFunction, Rows};
pub(crate) use transpose::Transpose;
pub(crate) use unary::Unary;

use std::collections::HashMap;
use std::ops::Range;

/// The index of a buffer of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BufferId(usize);

impl BufferId {
    /// Its index in tables with one entry a buffer.
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

/// The type of a buffer's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Element {
    #[default]
    F32,
    /// 8-bit values with a scale and a zero point.
    U8,
}

/// Memory that steps write and read: contiguous values of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Buffer {
    /// Values.
    pub(crate) length: usize,
    pub(crate) element: Element,
}

impl Buffer {
    /// Float32 values of an arena that it takes.
    pub(crate) fn words(&self) -> usize {
        match self.element {
            Element::F32 => self.length,
            Element::U8 => self.length.div_ceil(size_of::<f32>()),
        }
    }
}

/// An operation, and the buffer that it writes.
#[derive(Debug)]
pub(crate) struct Step {
    /// The name of the graph's node that it begins with.
    pub(crate) name: String,
    pub(crate) op: Op,
    pub(crate) output: BufferId,
    /// The phase that it belongs to.
    pub(crate) phase: usize,
}

impl Step {
    /// Visits every buffer that it writes.
    pub(crate) fn writes(&self, visit: &mut dyn FnMut(BufferId)) {
        visit(self.output);
        self.op.other_outputs(visit);
    }
}

/// Steps in the order in which they run, in one or more *phases*. A phase begins when its input is
/// fed; the last one may run again with another input.
#[derive(Debug, Default)]
pub(crate) struct Program {
    /// Ordered by phase.
    pub(crate) steps: Vec<Step>,
    buffers: Vec<Buffer>,
    /// The input of each phase.
    pub(crate) inputs: Vec<BufferId>,
    /// The buffers that are read after the last step.
    pub(crate) outputs: Vec<BufferId>,
    /// How many values there are that are no float32 buffers (see [`Fallback`]).
    pub(crate) opaque_values: usize,
}

impl Program {
    /// A new buffer of `length` float32 values.
    pub(crate) fn add_buffer(&mut self, length: usize) -> BufferId {
        self.add(Buffer { length, element: Element::F32 })
    }

    /// A new buffer of `length` values of this type.
    pub(crate) fn add_buffer_of(&mut self, element: Element, length: usize) -> BufferId {
        self.add(Buffer { length, element })
    }

    fn add(&mut self, buffer: Buffer) -> BufferId {
        self.buffers.push(buffer);
        BufferId(self.buffers.len() - 1)
    }

    /// A new value that only fallback operators write and read.
    pub(crate) fn add_opaque(&mut self) -> OpaqueId {
        self.opaque_values += 1;
        OpaqueId::new(self.opaque_values - 1)
    }

    /// Its buffers, by their index.
    pub(crate) fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// The index of each buffer.
    pub(crate) fn ids(&self) -> impl Iterator<Item = BufferId> {
        (0..self.buffers.len()).map(BufferId)
    }

    /// The steps of a phase.
    pub(crate) fn steps_of(&self, phase: usize) -> Range<usize> {
        let first = self.steps.partition_point(|step| step.phase < phase);
        first..self.steps.partition_point(|step| step.phase <= phase)
    }

    /// Bytes that a run takes beside the arena, at most.
    pub(crate) fn temporary_bytes(&self, threads: usize) -> usize {
        let length = |buffer: BufferId| self.buffers[buffer.0].length;
        let bytes = self.steps.iter().map(|step| step.op.temporary(&length, threads));
        bytes.max().unwrap_or(0)
    }

    /// Bytes of packed weights and constants; what several steps share counts once.
    pub(crate) fn resident_bytes(&self) -> usize {
        let mut by_identity = HashMap::new();
        for step in &self.steps {
            step.op.resident(&mut |Resident { identity, bytes }| {
                by_identity.insert(identity, bytes);
            });
        }
        by_identity.values().sum()
    }
}
