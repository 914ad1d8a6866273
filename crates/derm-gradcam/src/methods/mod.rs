//! Explanation methods, one file per method, each with its paper.
//!
//! Class activation maps (`*_cam`) combine a layer's activations with the gradient of the class's
//! logit, or with predictions for perturbed inputs or activations. The others attribute to the pixels
//! of the input.

mod ablation_cam;
mod eigen_cam;
mod eigen_grad_cam;
mod grad_cam;
mod grad_cam_plus_plus;
mod hires_cam;
mod integrated_gradients;
mod layer_cam;
mod maps;
mod probe;
mod saliency;
mod score_cam;
mod smooth_grad;
mod xgrad_cam;

pub use probe::Watch;

use crate::{Error, Evaluation, Heatmap, Layer};
use ndarray::{Array2, ArrayView3};
use probe::Probe;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An explanation method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Method {
    /// Channels weighted by their mean gradient (Selvaraju et al. 2017).
    #[default]
    #[serde(rename = "gradcam")]
    GradCam,
    /// Channels weighted by higher-order terms of their positive gradients (Chattopadhay et al.
    /// 2018).
    #[serde(rename = "gradcam++")]
    GradCamPlusPlus,
    /// Channels weighted by their gradient times their share of the activation (Fu et al. 2020).
    #[serde(rename = "xgradcam")]
    XGradCam,
    /// Activation times gradient, elementwise (Draelos and Carin 2020).
    #[serde(rename = "hirescam")]
    HiResCam,
    /// Activation times positive gradient, elementwise (Jiang et al. 2021).
    #[serde(rename = "layercam")]
    LayerCam,
    /// The first principal component of the activations; independent of the class (Muhammad and Yeasin 2020).
    #[serde(rename = "eigencam")]
    EigenCam,
    /// The first principal component of activation times gradient (Gildenblat 2021).
    #[serde(rename = "eigengradcam")]
    EigenGradCam,
    /// Channels weighted by the score of the input masked by them: one prediction per channel (Wang et al. 2020).
    #[serde(rename = "scorecam")]
    ScoreCam,
    /// Channels weighted by the drop of the logit when they are zero: one run of the later layers per
    /// channel (Desai and Ramaswamy 2020).
    #[serde(rename = "ablationcam")]
    AblationCam,
    /// The gradient with respect to each pixel (Simonyan et al. 2014).
    #[serde(rename = "saliency")]
    Saliency,
    /// Saliency averaged over noisy copies of the input (Smilkov et al. 2017).
    #[serde(rename = "smoothgrad")]
    SmoothGrad,
    /// The mean gradient on the line from a baseline to the input, times their difference (Sundararajan
    /// et al. 2017).
    #[serde(rename = "integrated_gradients")]
    IntegratedGradients,
}

/// What a method is computed from.
enum Kind {
    /// Activations and gradients of the layer, `[channels, rows, columns]`.
    Map(fn(ArrayView3<f32>, ArrayView3<f32>) -> Array2<f32>),
    /// Activations of the layer.
    Activations(fn(ArrayView3<f32>) -> Array2<f32>),
    /// The gradient with respect to the input.
    Pixels(fn(ArrayView3<f32>) -> Array2<f32>),
    /// Gradients with respect to several inputs.
    Inputs(fn(&mut Probe<'_, '_>) -> Result<Array2<f32>, Error>),
    /// Predictions for changed inputs, and the layer's activations.
    Predictions(fn(&mut Probe<'_, '_>, ArrayView3<f32>) -> Result<Array2<f32>, Error>),
    /// Replays of the later layers for changed activations.
    Replays(fn(&mut Probe<'_, '_>, ArrayView3<f32>) -> Result<Array2<f32>, Error>),
}

/// The name in requests, as serde has it.
impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl Method {
    /// Every method.
    pub const ALL: [Method; 12] = [
        Method::GradCam,
        Method::GradCamPlusPlus,
        Method::XGradCam,
        Method::HiResCam,
        Method::LayerCam,
        Method::EigenCam,
        Method::EigenGradCam,
        Method::ScoreCam,
        Method::AblationCam,
        Method::Saliency,
        Method::SmoothGrad,
        Method::IntegratedGradients,
    ];

    fn kind(self) -> Kind {
        match self {
            Method::GradCam => Kind::Map(grad_cam::map),
            Method::GradCamPlusPlus => Kind::Map(grad_cam_plus_plus::map),
            Method::XGradCam => Kind::Map(xgrad_cam::map),
            Method::HiResCam => Kind::Map(hires_cam::map),
            Method::LayerCam => Kind::Map(layer_cam::map),
            Method::EigenCam => Kind::Activations(eigen_cam::map),
            Method::EigenGradCam => Kind::Map(eigen_grad_cam::map),
            Method::ScoreCam => Kind::Predictions(score_cam::map),
            Method::AblationCam => Kind::Replays(ablation_cam::map),
            Method::Saliency => Kind::Pixels(saliency::map),
            Method::SmoothGrad => Kind::Inputs(smooth_grad::map),
            Method::IntegratedGradients => Kind::Inputs(integrated_gradients::map),
        }
    }

    /// Whether it attributes to the pixels of the input, whatever layer is requested.
    pub fn is_of_input(self) -> bool {
        matches!(self.kind(), Kind::Inputs(_) | Kind::Pixels(_))
    }

    /// Whether it runs the network, or a part of it, more than once per class.
    pub fn is_slow(self) -> bool {
        matches!(self.kind(), Kind::Inputs(_) | Kind::Predictions(_) | Kind::Replays(_))
    }

    /// The layer at which it is made when `layer` is requested.
    pub fn layer(self, layer: &Layer) -> Layer {
        if self.is_of_input() { Layer::Input } else { layer.clone() }
    }

    /// Whether it needs an explainer of `Explainer::load_replaying`.
    pub(crate) fn replays(self) -> bool {
        matches!(self.kind(), Kind::Replays(_))
    }
}

impl Evaluation<'_> {
    /// One heatmap per class. The evaluation must be of an explainer that
    /// [`crate::Explainers::for_explaining`] gave for `method`. `fill` writes the evaluated input once
    /// more, for methods that run it again.
    ///
    /// # Errors
    /// That of [`crate::Explainer::why_not`], [`Error::NoSuchClass`], [`Error::Stopped`], [`Error::Failed`].
    pub fn explain(
        &mut self,
        method: Method,
        classes: &[usize],
        fill: &dyn Fn(&mut [f32]),
        watch: Watch<'_>,
    ) -> Result<Vec<Heatmap>, Error> {
        classes.iter().map(|&class| heatmap(method, self, class, fill, watch)).collect()
    }
}

fn heatmap(
    method: Method,
    evaluation: &mut Evaluation<'_>,
    class: usize,
    fill: &dyn Fn(&mut [f32]),
    watch: Watch<'_>,
) -> Result<Heatmap, Error> {
    if class >= evaluation.scores.len() {
        return Err(Error::NoSuchClass(class));
    }
    evaluation.restore(fill)?;
    let map = match method.kind() {
        Kind::Map(map) => {
            evaluation.run_backward(class)?;
            map(evaluation.activations()?.view(), evaluation.gradients()?.view())
        }
        Kind::Pixels(map) => {
            evaluation.run_backward(class)?;
            map(evaluation.gradients()?.view())
        }
        Kind::Activations(map) => map(evaluation.activations()?.view()),
        Kind::Inputs(map) => with_probe(evaluation, class, fill, watch, map)?,
        Kind::Predictions(map) | Kind::Replays(map) => {
            let activations = evaluation.activations()?.into_owned();
            let map = |probe: &mut Probe<'_, '_>| map(probe, activations.view());
            with_probe(evaluation, class, fill, watch, map)?
        }
    };
    Ok(Heatmap::from_map(map))
}

/// Runs `map` on a probe of the evaluated input.
fn with_probe(
    evaluation: &mut Evaluation<'_>,
    class: usize,
    fill: &dyn Fn(&mut [f32]),
    watch: Watch<'_>,
    map: impl FnOnce(&mut Probe<'_, '_>) -> Result<Array2<f32>, Error>,
) -> Result<Array2<f32>, Error> {
    let spec = &evaluation.explainer().manifest().input;
    let shape = [spec.height as usize, spec.width as usize, 3];
    let mut input = vec![0.0; shape.iter().product()];
    fill(&mut input);
    map(&mut Probe { evaluation, input: &input, shape, class, watch })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array3, array};

    fn activations() -> Array3<f32> {
        Array3::from_shape_vec((2, 1, 3), vec![1.0, 2.0, 0.0, 0.0, 4.0, 1.0]).unwrap()
    }

    fn gradients() -> Array3<f32> {
        Array3::from_shape_vec((2, 1, 3), vec![3.0, 3.0, 3.0, -1.0, 0.0, -2.0]).unwrap()
    }

    fn close(found: &Array2<f32>, expected: &Array2<f32>) {
        assert!((found - expected).iter().all(|d| d.abs() < 1e-5), "{found} for {expected}");
    }

    #[test]
    fn maps_equal_those_computed_by_hand() {
        let (a, g) = (activations(), gradients());
        // Weights 3 and -1.
        close(&grad_cam::map(a.view(), g.view()), &array![[3.0, 2.0, 0.0]]);
        // Products, summed: 3, 6, -2.
        close(&hires_cam::map(a.view(), g.view()), &array![[3.0, 6.0, 0.0]]);
        close(&layer_cam::map(a.view(), g.view()), &array![[3.0, 6.0, 0.0]]);
        // Weights (3 * 1 + 3 * 2) / 3 = 3 and -2 / 5.
        close(&xgrad_cam::map(a.view(), g.view()), &array![[3.0, 4.4, 0.0]]);
        // First channel: 9 / (18 + 3 * 27) at each position, times 3, three times; the second has none.
        let weight = 3.0 * 3.0 * 9.0 / (18.0 + 3.0 * 27.0);
        let expected = array![[weight, 2.0 * weight, 0.0]];
        close(&grad_cam_plus_plus::map(a.view(), g.view()), &expected);
    }

    #[test]
    fn the_first_component_is_the_common_pattern() {
        // Two channels that follow one pattern, with different means.
        let pattern = [0.0, 1.0, 3.0, 2.0];
        let values: Vec<f32> =
            pattern.iter().map(|p| 2.0 * p + 5.0).chain(pattern.iter().map(|p| p - 1.0)).collect();
        let map = eigen_cam::map(Array3::from_shape_vec((2, 2, 2), values).unwrap().view());
        // Centred pattern -1.5 -0.5 1.5 0.5, times sqrt(5).
        let root = 5f32.sqrt();
        close(&map, &array![[0.0, 0.0], [1.5 * root, 0.5 * root]]);
    }
}
