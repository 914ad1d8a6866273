use derm_gradcam::{Colormap, Layer};
use serde::{Deserialize, Serialize};

/// What is wanted of a picture.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// How many classes to report, the most probable first; all when `None`.
    pub top_k: Option<usize>,
    /// A heatmap, if one is wanted.
    pub explain: Option<Explain>,
    /// Test-time augmentation: so many flips and turns of the picture are classified one after the
    /// other, and their probabilities averaged. 1 (and 0): the picture as it is; at most 8 (4 where
    /// the network's input is not square). The heatmap explains the picture as it is.
    pub tta: usize,
}

impl Request {
    /// Whether a layer other than the last is asked for: that takes a plan of its own.
    pub fn names_a_layer(&self) -> bool {
        self.explain.as_ref().is_some_and(|explain| explain.layer != Layer::Last)
    }
}

/// Which heatmap is wanted, and how it is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Explain {
    /// The class to explain, by id or number; the most probable when `None`.
    pub class: Option<String>,
    /// The layer whose places are judged. A layer by name loads a plan of its own for this
    /// request.
    pub layer: Layer,
    /// What the picture of the heatmap shows.
    pub drawing: Drawing,
    /// Its colours.
    pub colormap: Colormap,
    /// Share of colour over the picture, 0..=1; of no effect on [`Drawing::Heatmap`].
    pub alpha: f32,
}

impl Default for Explain {
    /// As the original application drew it: jet, 0.4, over the picture.
    fn default() -> Self {
        Explain {
            class: None,
            layer: Layer::Last,
            drawing: Drawing::Overlay,
            colormap: Colormap::Jet,
            alpha: 0.4,
        }
    }
}

/// What the picture of a heatmap shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Drawing {
    /// The heatmap blended over what the network saw, RGB.
    #[default]
    Overlay,
    /// The heatmap alone, RGBA, transparent where it is low.
    Heatmap,
}
