//! Types that are not Rust types of this crate, as they are serialised: those of other crates of the workspace,
//! and lists that are sent one element at a time. `tests/openapi.rs` holds real answers against them.

#![expect(dead_code, reason = "the schemas are made of the types alone")]

use crate::answer::Answer;
use crate::batch::Failure;
use crate::v1::{Explanation, Prediction};
use utoipa::ToSchema;

/// The out-of-distribution score.
#[derive(ToSchema)]
pub(crate) struct Uncertainty {
    /// Larger for images less like the training data.
    score: f32,
    /// A score above it is out of distribution.
    threshold: f32,
}

/// The range of a map before it was scaled to 0..1.
#[derive(ToSchema)]
pub(crate) struct MapRange {
    min: f32,
    max: f32,
}

/// A part of the upright image, as fractions of its width and height.
#[derive(ToSchema)]
pub(crate) struct Region {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

/// Stalls on memory in the last 10 s, percent of time.
#[derive(ToSchema)]
pub(crate) struct Pressure {
    /// At least one task stalled.
    some_avg10: f32,
    /// All tasks stalled at once.
    full_avg10: f32,
}

/// What limits the process.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum LimitSource {
    CgroupV2,
    CgroupV1,
    Physical,
}

/// The order of a tensor's axes.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Layout {
    Nchw,
    Nhwc,
}

/// The answer of `/predict/`: of one picture, or of several.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum Predicted {
    One(Box<Answer>),
    Several(Predictions),
}

/// Answers in the order of the pictures.
#[derive(ToSchema)]
pub(crate) struct Predictions {
    predictions: Vec<OneOfSeveral>,
}

/// The answer to one of several pictures.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum OneOfSeveral {
    Answer(Box<Answer>),
    Failure(Failure),
}

/// Predictions in the order of the instances.
#[derive(ToSchema)]
pub(crate) struct V1Predictions {
    predictions: Vec<V1PredictionOrFailure>,
}

/// The answer to one instance.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum V1PredictionOrFailure {
    Prediction(Prediction),
    Failure(Failure),
}

/// Explanations in the order of the instances.
#[derive(ToSchema)]
pub(crate) struct V1Explanations {
    explanations: Vec<V1ExplanationOrFailure>,
}

/// The answer to one instance.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum V1ExplanationOrFailure {
    Explanation(Explanation),
    Failure(Failure),
}
