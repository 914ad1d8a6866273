//! What requests and answers of the Open Inference Protocol hold.

use crate::bounded::{Fields, List, Whole};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Most inputs, outputs and axes that a request may name.
pub(crate) const MOST: usize = 16;

/// The body of `POST /v2/models/{model}/infer`, or its part before the binary tensors.
#[derive(Debug, Deserialize)]
pub(crate) struct InferRequest<'a> {
    /// Comes back in the answer.
    #[serde(borrow, default)]
    pub(crate) id: Option<Cow<'a, str>>,
    /// `binary_data_output`, and the parameters of a prediction: `class`, `method`, `layer`, ...
    #[serde(borrow, default)]
    pub(crate) parameters: Fields<'a>,
    /// One input: encoded pictures, or tensors of the graph's own input.
    #[serde(borrow)]
    pub(crate) inputs: List<RequestInput<'a>, MOST>,
    /// What is to be answered; without it the probabilities, the label, and the score of
    /// out-of-distribution detection where the model has one.
    #[serde(borrow, default)]
    pub(crate) outputs: Option<List<RequestOutput<'a>, MOST>>,
}

/// An input of a request.
#[derive(Debug, Deserialize)]
pub(crate) struct RequestInput<'a> {
    /// Its name in the model's metadata.
    #[serde(borrow)]
    pub(crate) name: Cow<'a, str>,
    /// Its shape; the first axis counts pictures.
    pub(crate) shape: List<Whole, MOST>,
    /// Its type in the model's metadata.
    #[serde(borrow)]
    pub(crate) datatype: Cow<'a, str>,
    /// `binary_data_size`: bytes of it after the JSON.
    #[serde(borrow, default)]
    pub(crate) parameters: Fields<'a>,
    /// Its elements, nested or flat: base64 or data URLs of pictures, or numbers.
    #[serde(borrow, default)]
    pub(crate) data: Option<&'a RawValue>,
}

/// An output that a request asks for.
#[derive(Debug, Deserialize)]
pub(crate) struct RequestOutput<'a> {
    /// Its name in the model's metadata.
    #[serde(borrow)]
    pub(crate) name: Cow<'a, str>,
    /// `binary_data`: whether it comes after the JSON. `classification`: so many of the largest
    /// values come as `VALUE:INDEX:CLASS`.
    #[serde(borrow, default)]
    pub(crate) parameters: Fields<'a>,
}

/// `GET /v2`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct ServerMetadata {
    /// Name of the server.
    pub(crate) name: &'static str,
    /// Its version.
    pub(crate) version: &'static str,
    /// The extensions of the protocol that it has.
    #[cfg_attr(test, schema(value_type = Vec<String>))]
    pub(crate) extensions: [&'static str; 4],
}

/// `GET /v2/models/{model}`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct ModelMetadata {
    /// Name of the model.
    pub(crate) name: String,
    /// Its only version.
    #[cfg_attr(test, schema(value_type = Vec<String>))]
    pub(crate) versions: [String; 1],
    /// What runs it.
    pub(crate) platform: &'static str,
    /// What it takes: one of these.
    pub(crate) inputs: Vec<TensorMetadata>,
    /// What it can answer.
    pub(crate) outputs: Vec<TensorMetadata>,
    /// Further facts.
    pub(crate) parameters: MetadataParameters,
}

/// Facts about a model that are the same for all its tensors.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct MetadataParameters {
    /// SHA-256 of the model's files.
    pub(crate) digest: String,
    /// The order of a tensor's axes: `nchw` or `nhwc`.
    #[cfg_attr(test, schema(value_type = crate::openapi::Layout))]
    pub(crate) layout: derm::Layout,
}

/// A tensor of a model.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct TensorMetadata {
    /// Name of the tensor.
    pub(crate) name: String,
    /// `BYTES`, `FP32`, `UINT8`, ...
    pub(crate) datatype: &'static str,
    /// Its shape; -1 is any length. The first axis counts pictures.
    pub(crate) shape: Vec<i64>,
}

/// `GET /v2/models/{model}/config`, as Triton's model configuration has it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct ModelConfig {
    /// Name of the model.
    pub(crate) name: String,
    /// What runs it.
    pub(crate) platform: &'static str,
    /// The same, as Triton calls it.
    pub(crate) backend: &'static str,
    /// 0: shapes are whole, with the axis that counts pictures.
    pub(crate) max_batch_size: usize,
    /// What it takes: one of these.
    pub(crate) input: Vec<ConfigTensor>,
    /// What it can answer.
    pub(crate) output: Vec<ConfigTensor>,
}

/// A tensor of a model's configuration.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct ConfigTensor {
    /// Name of the tensor.
    pub(crate) name: String,
    /// `TYPE_STRING`, `TYPE_FP32`, `TYPE_UINT8`, ...
    pub(crate) data_type: String,
    /// Its shape; -1 is any length. The first axis counts pictures.
    pub(crate) dims: Vec<i64>,
    /// Whether it may be absent.
    pub(crate) optional: bool,
}

/// An answer to `GET /v2/health/live`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Live {
    /// Whether the process responds.
    pub(crate) live: bool,
}

/// An answer to `GET /v2/health/ready` and `GET /v2/models/{model}/ready`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Ready {
    /// Name of the model that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(nullable = false))]
    pub(crate) name: Option<String>,
    /// Whether it can be used.
    pub(crate) ready: bool,
}

/// A model in the answer to `POST /v2/repository/index`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct IndexEntry {
    /// Name of the model.
    pub(crate) name: String,
    /// Its only version.
    pub(crate) version: String,
    /// `READY`, or `UNAVAILABLE`: it was not used yet, or was unloaded.
    pub(crate) state: &'static str,
    /// Why it is unavailable; else empty.
    pub(crate) reason: &'static str,
}

/// The answer to `POST /v2/models/{model}/infer`, or its part before the binary tensors.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct InferResponse {
    /// Name of the model.
    pub(crate) model_name: String,
    /// Its version.
    pub(crate) model_version: String,
    /// That of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(nullable = false))]
    pub(crate) id: Option<String>,
    /// Of pictures that could not be used, `error[INDEX]`: why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(test, schema(required = false))]
    pub(crate) parameters: BTreeMap<String, String>,
    /// What was asked for, in that order.
    pub(crate) outputs: Vec<ResponseOutput>,
}

/// An output of an answer.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct ResponseOutput {
    /// Its name.
    pub(crate) name: &'static str,
    /// `FP32` or `BYTES`.
    pub(crate) datatype: &'static str,
    /// Its shape; the first axis counts pictures.
    pub(crate) shape: Vec<usize>,
    /// How its data is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(nullable = false))]
    pub(crate) parameters: Option<OutputParameters>,
    /// Its elements, flat; absent where they come after the JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(nullable = false))]
    pub(crate) data: Option<OutputData>,
}

/// How an output is sent.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(untagged)]
pub(crate) enum OutputParameters {
    /// After the JSON.
    Binary {
        /// Bytes of it.
        binary_data_size: usize,
    },
    /// Files as text.
    Text {
        /// `base64`.
        encoding: &'static str,
    },
}

/// Elements of an output.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(untagged)]
pub(crate) enum OutputData {
    /// Numbers; null where there is none.
    #[cfg_attr(test, schema(value_type = Vec<Option<f32>>))]
    Floats(Vec<f32>),
    /// Texts.
    Texts(Vec<String>),
}
