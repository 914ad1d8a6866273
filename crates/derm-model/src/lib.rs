#![doc = include_str!("../README.md")]

mod digest;
mod error;
mod file;
mod graph;
mod guard;
mod manifest;
mod opened;
mod operators;
mod plan;
mod simplify;
mod skeleton;
mod source;

pub use derm_engine::{
    Constants, Isa, Options as EngineOptions, PackedWeightCache, Precision, StepTime,
    StoredWeights, ThreadPool,
};
pub use digest::Digest;
pub use error::Error;
pub use graph::Graph;
pub use manifest::{Class, Manifest, Output, Uncertain};
pub use opened::OpenModel;
pub use plan::{Plan, Run, channels_last};
pub use source::ModelSource;
