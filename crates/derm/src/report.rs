//! Report: what is known of a picture after it was classified.

use crate::{Canvas, Digest, ExplainError, Manifest};
use derm_gradcam::Heatmap;
use derm_preprocess::{Region, Warning};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The classes of a picture, and their explanations.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// The most probable class first.
    pub predictions: Vec<Prediction>,
    /// Decision: the class with the largest `probability * decision_weight` of the manifest; `None`
    /// where the classes do not exclude each other.
    pub decision: Option<Prediction>,
    /// The classes whose probability reaches their threshold, the most probable first, whatever
    /// `top_k` is.
    pub flagged: Vec<Prediction>,
    /// The graph's scores of the picture, `[classes]` in the manifest's order: what its `output` says
    /// they are.
    pub scores: Vec<f32>,
    /// How far the picture is from the training data; `None` where the model cannot tell.
    pub uncertain: Option<Uncertainty>,
    /// An explanation of each class that was named, or why there is none; `None` when none was
    /// asked for.
    pub explanations: Option<Result<Vec<Explanation>, ExplainError>>,
    /// What heatmaps are drawn on, where [`Explain::keep_canvas`](crate::Explain::keep_canvas) asked
    /// for it; a tensor has none.
    pub canvas: Option<Canvas<'static>>,
    /// Size of the upright picture, width first.
    pub size: (u32, u32),
    /// The part of it that the network sees.
    pub region: Region,
    /// What is wrong with the picture, though it was decoded.
    pub warnings: Vec<Warning>,
    /// The manifest of the model that classified it.
    pub manifest: Arc<Manifest>,
    /// The digest of that model.
    pub digest: Digest,
    /// Time of each step.
    pub timings: Timings,
}

/// A class and its probability.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// Id of the class.
    pub class: String,
    /// Index of the class in the manifest.
    pub index: usize,
    /// 0..=1.
    pub probability: f32,
}

/// Out-of-distribution score: how far a picture is from the model's training data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Uncertainty {
    /// Larger for pictures that are less like the training data.
    pub score: f32,
    /// The manifest's; a score above it is out of distribution.
    pub threshold: f32,
}

impl Uncertainty {
    /// Whether the picture is out of distribution: its probabilities mean nothing.
    pub fn is_uncertain(&self) -> bool {
        // NaN is no reason to trust the probabilities.
        self.score.is_nan() || self.score > self.threshold
    }
}

/// A heatmap of one class, and its rendering.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Explanation {
    /// Id of the class that is explained.
    pub class: String,
    /// Values 0..=1, `[rows, columns]` of the layer.
    pub heatmap: Heatmap,
    /// The heatmap as [`Drawing`](crate::Drawing) asked for it.
    pub rendering: Rendering,
}

/// A rendered heatmap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rendering {
    /// A PNG file, of the size that [`Size`](crate::Size) asked for.
    Png(Vec<u8>),
    /// A NumPy file (`.npy`), float32, `[rows, columns]` of the layer.
    Npy(Vec<u8>),
    /// Nothing is rendered: the values are in [`Explanation::heatmap`].
    None,
}

impl Rendering {
    /// The file, if there is one.
    pub fn file(&self) -> Option<&[u8]> {
        match self {
            Rendering::Png(bytes) | Rendering::Npy(bytes) => Some(bytes),
            Rendering::None => None,
        }
    }
}

/// How long each step took; zero for steps that were not taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Decoding and resizing, which are done together, row by row.
    pub decode: Duration,
    /// Waiting for the model, loading it and making the explanation's plan where need be.
    pub load: Duration,
    /// The inferences.
    pub infer: Duration,
    /// Gradients and heatmaps.
    pub gradcam: Duration,
    /// Drawing and encoding the heatmaps.
    pub render: Duration,
}

/// Adds the time that the work takes.
pub(crate) fn timed<T>(to: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *to += start.elapsed();
    result
}
