//! Request: what is asked of a picture.

use crate::{Error, Manifest};
use derm_gradcam::{Colormap, ExplainRequest, Layer, Method, Scale};
use serde::{Deserialize, Serialize};

/// What is asked of a picture. [`Request::default`]: all classes, no explanation.
///
/// ```
/// use derm::{Explain, Method, Request};
///
/// let request = Request::default().with_top_k(3).with_explain(Explain::new(Method::LayerCam));
/// assert_eq!(request.tta, 1);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Request {
    /// How many classes to report, the most probable first; all when `None`.
    pub top_k: Option<usize>,
    /// The explanation, if one is wanted.
    pub explain: Option<Explain>,
    /// An explanation that is described and not wanted: its classes, layer and augmentations are checked all the
    /// same, and nothing is computed for it.
    pub declined: Option<Explain>,
    /// Test-time augmentation: the probabilities of so many flips and rotations of the picture are
    /// averaged. 1 (and 0): the picture as it is; at most 8 (4 where the network's input is not
    /// square). The explanation is that of the picture as it is.
    pub tta: usize,
}

impl Default for Request {
    fn default() -> Self {
        Request { top_k: None, explain: None, declined: None, tta: 1 }
    }
}

impl Request {
    /// Limits the number of classes that are reported.
    pub fn with_top_k(self, top_k: usize) -> Request {
        Request { top_k: Some(top_k), ..self }
    }

    /// Asks for an explanation.
    pub fn with_explain(self, explain: Explain) -> Request {
        Request { explain: Some(explain), ..self }
    }

    /// Describes an explanation that is not wanted.
    pub fn with_declined(self, explain: Explain) -> Request {
        Request { declined: Some(explain), ..self }
    }

    /// The explanation that is described, wanted or not.
    pub fn described(&self) -> Option<&Explain> {
        self.explain.as_ref().or(self.declined.as_ref())
    }

    /// Sets the number of augmentations.
    pub fn with_tta(self, tta: usize) -> Request {
        Request { tta, ..self }
    }
}

/// Which explanation is wanted, and how it is rendered. [`Explain::default`]: Grad-CAM of the most
/// probable class at the last feature map, from its minimum to its maximum, blended over the picture in
/// jet with alpha 0.4.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Explain {
    /// The classes to explain, by id or index; the most probable one when there are none.
    pub classes: Vec<String>,
    /// The method of explanation.
    pub method: Method,
    /// The layer whose positions are attributed to: a name, or the number of one of
    /// [`Description::layers`](crate::Description::layers). Of no effect on methods of the input.
    pub layer: Layer,
    /// Smoothing: the heatmaps of so many flips and rotations of the picture are averaged; bounds as
    /// those of [`Request::tta`].
    pub smooth: usize,
    /// How the map's values become those of the heatmap.
    pub scale: Scale,
    /// What is rendered.
    pub drawing: Drawing,
    /// The size of the rendered image.
    pub size: Size,
    /// The colours of the heatmap.
    pub colormap: Colormap,
    /// Opacity of the heatmap in [`Drawing::Overlay`], 0..=1.
    pub alpha: f32,
    /// Level of the contour line on an overlay or heatmap, and of [`Drawing::Mask`] (0.5 when
    /// `None`), 0..=1.
    pub contour: Option<f32>,
    /// Whether the report keeps what heatmaps are drawn on, for who draws later:
    /// [`Report::canvas`](crate::Report::canvas).
    pub keep_canvas: bool,
}

impl Default for Explain {
    fn default() -> Self {
        Explain {
            classes: Vec::new(),
            method: Method::GradCam,
            layer: Layer::Last,
            smooth: 1,
            scale: Scale::MinMax,
            drawing: Drawing::Overlay,
            size: Size::Input,
            colormap: Colormap::Jet,
            alpha: 0.4,
            contour: None,
            keep_canvas: false,
        }
    }
}

impl Explain {
    /// The default explanation by this method.
    pub fn new(method: Method) -> Explain {
        Explain { method, ..Explain::default() }
    }

    /// Names the classes to explain, by id or index.
    pub fn with_classes<C: Into<String>>(self, classes: impl IntoIterator<Item = C>) -> Explain {
        Explain { classes: classes.into_iter().map(C::into).collect(), ..self }
    }

    /// Sets the layer.
    pub fn with_layer(self, layer: Layer) -> Explain {
        Explain { layer, ..self }
    }

    /// Sets the number of augmentations whose heatmaps are averaged.
    pub fn with_smooth(self, smooth: usize) -> Explain {
        Explain { smooth, ..self }
    }

    /// Sets the scale of the heatmap's values.
    pub fn with_scale(self, scale: Scale) -> Explain {
        Explain { scale, ..self }
    }

    /// Sets what is rendered.
    pub fn with_drawing(self, drawing: Drawing) -> Explain {
        Explain { drawing, ..self }
    }

    /// Sets the size of the rendered image.
    pub fn with_size(self, size: Size) -> Explain {
        Explain { size, ..self }
    }

    /// Sets the colours.
    pub fn with_colormap(self, colormap: Colormap) -> Explain {
        Explain { colormap, ..self }
    }

    /// Sets the opacity of an overlay, 0..=1.
    pub fn with_alpha(self, alpha: f32) -> Explain {
        Explain { alpha, ..self }
    }

    /// Sets the level of the contour line or mask, 0..=1.
    pub fn with_contour(self, level: f32) -> Explain {
        Explain { contour: Some(level), ..self }
    }

    /// Has the report keep what heatmaps are drawn on.
    pub fn with_canvas(self) -> Explain {
        Explain { keep_canvas: true, ..self }
    }

    /// Whether it needs a plan beside the one that predicts: at another layer than the default, or
    /// for pixels.
    pub fn needs_own_plan(&self) -> bool {
        let layer = self.layer.clone();
        ExplainRequest { method: self.method, layer }.needs_own_plan()
    }

    /// Indices of the classes that are named.
    ///
    /// # Errors
    /// [`Error::Parameter`]: the model does not have one of them.
    pub(crate) fn class_indices(&self, manifest: &Manifest) -> Result<Vec<usize>, Error> {
        let index = |name: &String| {
            manifest.class_index(name).ok_or_else(|| {
                let known: Vec<&str> =
                    manifest.classes.iter().take(20).map(|class| class.id.as_str()).collect();
                let reason = format!(
                    "the model has no class {:?}; it has {}",
                    short(name),
                    known.join(", ")
                );
                Error::Parameter { name: "class", reason }
            })
        };
        self.classes.iter().map(index).collect()
    }
}

/// The first characters of a name that an error repeats.
pub(crate) fn short(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(60).collect()
}

/// What is rendered of a heatmap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Drawing {
    /// The heatmap blended over the picture, RGB.
    #[default]
    Overlay,
    /// The heatmap alone, RGBA, transparent where it is low.
    Heatmap,
    /// A mask: white where the heatmap reaches a level, black elsewhere; greyscale.
    Mask,
    /// Nothing: the values are in [`crate::Explanation::heatmap`].
    Json,
    /// The values as a NumPy file, `[rows, columns]` of the layer.
    Npy,
}

/// The size of a rendered heatmap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// That of the network's input, which it shows.
    #[default]
    Input,
    /// That of the upright picture that was sent; the part that the network does not see has no heat.
    Upload,
}
