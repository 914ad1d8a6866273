#![doc = include_str!("../README.md")]

mod arena;
mod compile;
mod engine;
mod error;
pub mod graph_ops;
mod lower;
mod options;
mod passes;
mod program;
mod threads;
mod weights;

pub use derm_kernels::{Isa, Precision, Unary};
pub use engine::{Engine, Operators, StepTime};
pub use error::RunError;
pub use options::{Options, Passes};
pub use program::Arena;
pub use threads::ThreadPool;
pub use weights::{Bytes, Constants, PackedWeightCache, Stored, StoredWeights};
