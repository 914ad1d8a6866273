use derm_gradcam::Heatmap;
use derm_preprocess::Region;
use serde::Serialize;
use std::time::Duration;

/// What a picture is taken for.
#[derive(Debug)]
pub struct Report {
    /// The most probable class first.
    pub predictions: Vec<Prediction>,
    /// The classes whose probability reaches their threshold, the most probable first, whatever
    /// `top_k` is.
    pub flagged: Vec<Prediction>,
    /// Whether the picture is of a kind that the model knows; `None` where its manifest has no way
    /// to tell.
    pub uncertain: Option<Uncertainty>,
    /// A heatmap for each class that was to be explained, or why there is none; `None` when none
    /// was asked for.
    pub explanations: Option<Result<Vec<Explanation>, String>>,
    /// Size of the upright picture, width first.
    pub size: (u32, u32),
    /// The part of it that the network saw.
    pub region: Region,
    /// Where the time went.
    pub timings: Timings,
}

/// A class and its probability.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// Id of the class.
    pub class: String,
    /// Place of the class in the manifest.
    pub index: usize,
    /// 0..=1.
    pub probability: f32,
}

/// How far a picture is from those that the model was made for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Uncertainty {
    /// The model's out-of-distribution score: larger for what is less like its training pictures.
    pub score: f32,
    /// Of the manifest.
    pub threshold: f32,
}

impl Uncertainty {
    /// Whether the probabilities mean nothing, since the model does not know such pictures.
    pub fn is_uncertain(&self) -> bool {
        // A score that is no number is no reason to trust the rest.
        self.score.is_nan() || self.score > self.threshold
    }
}

/// A heatmap, and what was drawn of it.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// Id of the class that is explained.
    pub class: String,
    /// 0..=1, of the layer's size.
    pub heatmap: Heatmap,
    /// PNG bytes, of the network's input size; those of a NumPy file for [`crate::Drawing::Npy`];
    /// none for [`crate::Drawing::Json`].
    pub bytes: Vec<u8>,
}

/// How long each step took; zero for steps that were not taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Bytes to the pixels that the network sees: decoding and resizing go hand in hand.
    pub decode: Duration,
    /// Waiting for the model to be there, loading it where it was not.
    pub load: Duration,
    /// The network.
    pub infer: Duration,
    /// The gradient and the heatmap.
    pub gradcam: Duration,
    /// Drawing and encoding the heatmap.
    pub render: Duration,
}
