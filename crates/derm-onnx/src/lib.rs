#![doc = include_str!("../README.md")]

mod error;
mod file;
mod fill;
mod narrow;
mod tensor;

/// Generated from `onnx.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used)]
mod messages {
    include!(concat!(env!("OUT_DIR"), "/messages/mod.rs"));
    pub use onnx::*;
}

pub use error::Error;
pub use file::{read, write};
pub use fill::fill;
pub use messages::ModelProto;
pub use narrow::{Kept, Report, narrow};
