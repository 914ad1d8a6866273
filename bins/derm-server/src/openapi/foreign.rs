//! Types of other crates of the workspace, as they are serialised. `tests/openapi.rs` holds real answers
//! against them.

#![expect(dead_code, reason = "the schemas are made of the types alone")]

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
