#![doc = include_str!("../README.md")]

mod error;
mod graph;
mod lazy;
mod manifest;
mod outcome;
mod plan;
mod source;

pub use error::Error;
pub use graph::Graph;
pub use lazy::{AcquireError, Lazy, Lease};
pub use manifest::{Class, Manifest, Output};
pub use plan::{Plan, Threads};
pub use source::ModelSource;
