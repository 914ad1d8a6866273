#![doc = include_str!("../README.md")]

mod error;
mod file;
mod graph;
mod guard;
mod manifest;
mod operators;
mod plan;
mod rewrite;
mod simplify;
mod skeleton;
mod source;

pub use derm_engine::{
    Constants, Isa, Options as EngineOptions, PackedWeightCache, Precision, StepTime,
    StoredWeights, ThreadPool,
};
pub use error::Error;
pub use graph::Graph;
pub use manifest::{Class, Manifest, Output, Uncertain};
pub use plan::{Plan, Run, channels_last};
pub use source::ModelSource;
