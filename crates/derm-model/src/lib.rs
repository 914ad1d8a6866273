#![doc = include_str!("../README.md")]

mod adapt;
mod draft;
mod error;
mod external_data;
mod file;
mod graph;
mod guard;
mod manifest;
mod operators;
mod plan;
mod signature;
mod simplify;
mod skeleton;
mod source;

pub use derm_engine::{
    Constants, Isa, Options as EngineOptions, PackedWeightCache, Precision, StepTime,
    StoredWeights, ThreadPool,
};
pub use draft::draft_manifest;
pub use error::Error;
pub use file::FileFault;
pub use graph::Graph;
pub use manifest::{Class, Manifest, Output, Uncertain};
pub use plan::{Plan, Run, channels_last};
pub use source::ModelSource;
