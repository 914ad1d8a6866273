//! How an engine is compiled.

use crate::ThreadPool;
use derm_kernels::{Isa, Precision};

/// How an engine is compiled.
#[derive(Debug, Clone)]
pub struct Options {
    /// How float weights are kept; `None`: as they are in the file. Weights of 8 bits stay so.
    pub precision: Option<Precision>,
    /// The instruction set.
    pub isa: Isa,
    /// The threads inside one inference.
    pub threads: ThreadPool,
    /// Which passes rewrite the program. All of them but in a test of the passes.
    pub passes: Passes,
    /// Whether a graph may have operators that nobody compared with another runtime. Whoever reads
    /// the graph knows; the engine lowers whatever it is given.
    pub allow_unverified: bool,
    /// The most bytes that one run may take beside the weights. A graph that takes more is refused when it is compiled.
    pub max_run_bytes: usize,
}

impl Default for Options {
    /// Weights as in the file, this machine's best instruction set, one thread, every pass,
    /// compared operators only, 2 GiB for a run.
    fn default() -> Self {
        Options {
            precision: None,
            isa: Isa::best(),
            threads: ThreadPool::SINGLE,
            passes: Passes::default(),
            allow_unverified: false,
            max_run_bytes: 2 << 30,
        }
    }
}

/// The passes that rewrite a program. Each changes time and memory, never a result beyond rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passes {
    /// Epilogue fusion: folds biases, activations, additions and derivatives into the convolution
    /// that computes their operand. A hard swish in several steps becomes one before.
    pub epilogue: bool,
    /// Convolution chaining: runs convolutions a few rows at a time where what lies between them
    /// would outgrow the cache.
    pub conv_chain: bool,
    /// In-place reuse: lets an output take the memory of an operand that dies with the step.
    pub in_place: bool,
}

impl Passes {
    /// No pass at all.
    pub const NONE: Passes = Passes { epilogue: false, conv_chain: false, in_place: false };
}

impl Default for Passes {
    fn default() -> Self {
        Passes { epilogue: true, conv_chain: true, in_place: true }
    }
}
