#![doc = include_str!("../README.md")]

mod error;
mod file;
mod fill;
mod names;
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
/// The messages of an ONNX file, as far as `onnx.proto` here declares them.
pub mod message {
    pub use crate::messages::attribute_proto::AttributeType;
    pub use crate::messages::tensor_proto::DataType;
    pub use crate::messages::{
        AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
    };
    pub use protobuf::{Message, MessageField};
}

pub use messages::ModelProto;
pub use names::{names_in_use, unused};
pub use narrow::{Kept, Report, narrow};
pub use tensor::floats;
