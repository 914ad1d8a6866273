#![doc = include_str!("../README.md")]

mod arena;
mod chain;
mod constant;
mod engine;
mod lower;
pub mod ops;
mod step;
mod value;
mod workers;

pub use arena::Arena;
pub use constant::{Bytes, Stored, StoredWeights};
pub use derm_kernels::{Isa, Precision};
pub use engine::{Engine, Kernels, Settings, StepTime};
pub use workers::Workers;
