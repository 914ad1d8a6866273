#![doc = include_str!("../README.md")]

mod arena;
mod constant;
mod engine;
mod lower;
mod step;
mod value;
mod workers;

pub use arena::Arena;
pub use constant::{Bytes, Stored, StoredWeights};
pub use derm_kernels::{Isa, Precision};
pub use engine::{Engine, Settings};
pub use workers::Workers;
