use derm_gradcam::{Colormap, Layer, Method};
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

/// Which heatmap is wanted, and how it is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Explain {
    /// The classes to explain, by id or number; the most probable one when there are none.
    pub classes: Vec<String>,
    /// How heatmaps are made.
    pub method: Method,
    /// The layer whose places are judged: a name, or the number of one of [`crate::Classifier::layers`].
    /// Of no effect on methods that judge pixels.
    pub layer: Layer,
    /// So many flips and turns of the picture are explained and the heatmaps averaged; bounds as
    /// those of [`Request::tta`].
    pub smooth: usize,
    /// What the picture of the heatmap shows.
    pub drawing: Drawing,
    /// And how large it is.
    pub size: Size,
    /// Its colours.
    pub colormap: Colormap,
    /// Share of colour over the picture, 0..=1, of [`Drawing::Overlay`].
    pub alpha: f32,
    /// Where a line is drawn on an overlay or heatmap, and the level of [`Drawing::Mask`] (0.5 when
    /// `None`), 0..=1.
    pub contour: Option<f32>,
}

impl Default for Explain {
    /// As the original application drew it: jet, 0.4, over the picture.
    fn default() -> Self {
        Explain {
            classes: Vec::new(),
            method: Method::GradCam,
            layer: Layer::Last,
            smooth: 1,
            drawing: Drawing::Overlay,
            size: Size::Input,
            colormap: Colormap::Jet,
            alpha: 0.4,
            contour: None,
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
    /// White where the heatmap reaches a level, black elsewhere, grey.
    Mask,
    /// No picture: the values are in [`crate::Explanation::heatmap`].
    Json,
    /// The values as a NumPy file, of the layer's size.
    Npy,
}

/// How large the picture of a heatmap is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// As what the network saw, which it shows.
    #[default]
    Input,
    /// As the upright picture that was sent; what the network did not see has no heat.
    Upload,
}
