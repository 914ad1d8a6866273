#![doc = include_str!("../README.md")]

mod adapt;
mod budget;
mod digest;
mod draft;
mod error;
mod external_data;
mod file;
mod graph;
mod guard;
mod manifest;
mod opened;
mod operators;
mod plan;
mod rewrite;
mod signature;
mod simplify;
mod skeleton;
mod source;

pub use adapt::{ElementType, GraphInput};
pub use derm_engine::{
    Constants, Isa, Operators, Options as EngineOptions, PackedWeightCache, Precision, StepTime,
    StoredWeights, ThreadPool,
};
pub use digest::Digest;
pub use draft::{draft_manifest, draft_manifest_for_input};
pub use error::Error;
pub use file::FileFault;
pub use graph::Graph;
pub use manifest::{Class, Manifest, Output, Uncertain};
pub use opened::OpenModel;
pub use plan::{Plan, Run, channels_last};
pub use source::ModelSource;
