//! What every operation of a program can do: [`Operation`], and [`Op`], one variant an operation.

use super::context::RunContext;
use super::{
    Binary, BufferId, Conv, ConvChain, Copy, Dequantize, Derivative, Fallback, Fill, Int8Add,
    Int8Conv, Int8Mul, Int8Pool, Int8Table, MatMul, Pool, PoolGradient, Quantize, Reduce, Rows,
    Transpose, Unary,
};
use crate::RunError;
use std::fmt::Debug;

/// What a step computes, as the engine and the passes see it.
pub(crate) trait Operation: Debug {
    /// Visits each buffer that it reads, once for each time that it is an operand.
    fn reads(&self, visit: &mut dyn FnMut(BufferId));

    /// Visits the buffers that it writes beside the step's output.
    fn other_outputs(&self, _visit: &mut dyn FnMut(BufferId)) {}

    /// Visits the memory that it holds from one run to the next: packed weights and constants. It
    /// has no default, so that the accounting of weights cannot miss an operation.
    fn resident(&self, visit: &mut dyn FnMut(Resident));

    /// The operands whose memory the output may take over, if one of them is as long.
    fn in_place(&self) -> [Option<BufferId>; 2] {
        [None, None]
    }

    /// Float32 values of scratch that a run on `threads` threads needs.
    fn scratch(&self, _threads: usize) -> usize {
        0
    }

    /// Bytes that a run on `threads` threads takes beside the arena. `length` tells the values of a
    /// buffer.
    fn temporary(&self, _length: &dyn Fn(BufferId) -> usize, _threads: usize) -> usize {
        0
    }

    /// What it does, for a profile.
    fn work(&self) -> Work;

    /// The operator, if tract evaluates it.
    fn fallback(&self) -> Option<String> {
        None
    }

    /// Computes the step's output.
    ///
    /// # Errors
    /// If tract fails at an operator that is left to it.
    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError>;
}

/// Memory that stays between runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resident {
    /// The same for operations that share the memory, different for others.
    pub(crate) identity: usize,
    pub(crate) bytes: usize,
}

/// What an operation does, in words, and how many arithmetic operations that takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) kind: String,
    /// Two for each multiply-add of a convolution or product, as its definition counts them,
    /// whatever the algorithm really executes; 0 for all others.
    pub(crate) operations: usize,
    /// Whether they multiply 8-bit integers, not floats.
    pub(crate) is_int8: bool,
}

impl Work {
    /// Operations on floats.
    pub(crate) fn float(kind: String, operations: usize) -> Work {
        Work { kind, operations, is_int8: false }
    }

    /// Operations on 8-bit integers.
    pub(crate) fn int8(kind: String, operations: usize) -> Work {
        Work { kind, operations, is_int8: true }
    }
}

impl From<&str> for Work {
    fn from(kind: &str) -> Work {
        Work::float(kind.to_owned(), 0)
    }
}

macro_rules! operations {
    ($($name:ident),+ $(,)?) => {
        /// One operation of a program.
        #[derive(Debug)]
        pub(crate) enum Op {
            $($name($name)),+
        }

        $(impl From<$name> for Op {
            fn from(operation: $name) -> Op {
                Op::$name(operation)
            }
        })+

        impl Op {
            /// The operation's name.
            pub(crate) fn name(&self) -> &'static str {
                match self {
                    $(Op::$name(_) => stringify!($name)),+
                }
            }
        }

        impl std::ops::Deref for Op {
            type Target = dyn Operation;

            fn deref(&self) -> &(dyn Operation + 'static) {
                match self {
                    $(Op::$name(operation) => operation),+
                }
            }
        }
    };
}

operations! {
    Binary, Conv, ConvChain, Copy, Dequantize, Derivative, Fallback, Fill, Int8Add,
    Int8Conv, Int8Mul, Int8Pool, Int8Table, MatMul, Pool, PoolGradient, Quantize, Reduce, Rows, Transpose,
    Unary,
}
