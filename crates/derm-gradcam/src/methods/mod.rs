//! How an explanation is made: one file a method, each with its source.
//!
//! Class activation maps (`*_cam`) judge the places of a layer by its values and the gradient of
//! the class's logit there. The others judge the pixels of the network's input, or try the network
//! on many changed inputs.

mod ablation_cam;
mod eigen_cam;
mod eigen_grad_cam;
mod grad_cam;
mod grad_cam_plus_plus;
mod hires_cam;
mod integrated_gradients;
mod layer_cam;
mod saliency;
mod score_cam;
mod smooth_grad;
mod xgrad_cam;

use crate::{Error, Evaluation, Heatmap, Layer};
use ndarray::{Array2, Array3, ArrayView1, ArrayView3, Axis, CowArray, Ix3};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How an explanation is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Method {
    /// Channels weighed by their mean gradient (Selvaraju et al. 2017).
    #[default]
    #[serde(rename = "gradcam")]
    GradCam,
    /// Channels weighed by higher-order terms of their positive gradients (Chattopadhay et al.
    /// 2018).
    #[serde(rename = "gradcam++")]
    GradCamPlusPlus,
    /// Channels weighed by their gradient times their share of the activation (Fu et al. 2020).
    #[serde(rename = "xgradcam")]
    XGradCam,
    /// Activation times gradient, place by place (Draelos and Carin 2020).
    #[serde(rename = "hirescam")]
    HiResCam,
    /// Activation times positive gradient, place by place (Jiang et al. 2021).
    #[serde(rename = "layercam")]
    LayerCam,
    /// The first principal component of the activations; of no class (Muhammad and Yeasin 2020).
    #[serde(rename = "eigencam")]
    EigenCam,
    /// The first principal component of activation times gradient (Gildenblat 2021).
    #[serde(rename = "eigengradcam")]
    EigenGradCam,
    /// Channels weighed by the score of the picture seen through them: a prediction for each
    /// channel (Wang et al. 2020).
    #[serde(rename = "scorecam")]
    ScoreCam,
    /// Channels weighed by what the score loses without them: a run of the layers behind for each
    /// channel (Desai and Ramaswamy 2020).
    #[serde(rename = "ablationcam")]
    AblationCam,
    /// The gradient with respect to each pixel (Simonyan et al. 2014).
    #[serde(rename = "saliency")]
    Saliency,
    /// Saliency averaged over noisy copies of the picture (Smilkov et al. 2017).
    #[serde(rename = "smoothgrad")]
    SmoothGrad,
    /// The gradient along the way from a neutral picture, times the way (Sundararajan et al. 2017).
    #[serde(rename = "integrated_gradients")]
    IntegratedGradients,
}

/// What a method computes with.
enum Kind {
    /// Activations and gradients of a layer, `[channels, rows, columns]`: an unscaled map.
    Map(fn(ArrayView3<f32>, ArrayView3<f32>) -> Array2<f32>),
    /// Activations alone.
    Activations(fn(ArrayView3<f32>) -> Array2<f32>),
    /// The input's gradient of the class.
    Pixels(fn(ArrayView3<f32>) -> Array2<f32>),
    /// The gradients of several inputs.
    Input(fn(&mut Probe<'_, '_>) -> Result<Array2<f32>, Error>),
    /// Predictions for changed inputs.
    Predictions(fn(&mut Probe<'_, '_>, ArrayView3<f32>) -> Result<Array2<f32>, Error>),
    /// The layers behind, for changed values of the layer.
    Replays(fn(&mut Probe<'_, '_>, ArrayView3<f32>) -> Result<Array2<f32>, Error>),
}

/// Told how many of how many runs are done, between two runs; `false` ends the work.
pub type Watch<'a> = &'a mut dyn FnMut(usize, usize) -> bool;

/// A network that can be asked again and again about one picture and one class, in the memory of
/// one evaluation.
struct Probe<'p, 'e> {
    evaluation: &'p mut Evaluation<'e>,
    /// The picture as the network reads it: rows, columns, channels.
    input: &'p [f32],
    /// Its rows, columns and channels.
    shape: [usize; 3],
    class: usize,
    watch: Watch<'p>,
}

impl Probe<'_, '_> {
    fn report(&mut self, done: usize, total: usize) -> Result<(), Error> {
        if (self.watch)(done, total) { Ok(()) } else { Err(Error::Stopped) }
    }

    /// The input's gradient of the class's logit, `[channels, rows, columns]`, for the picture that
    /// `change` makes of this one.
    fn gradient(
        &mut self,
        change: impl FnOnce(&mut [f32]),
    ) -> Result<CowArray<'_, f32, Ix3>, Error> {
        self.score(change)?;
        self.evaluation.differentiate(self.class)?;
        self.evaluation.gradients()
    }

    /// The class's score for the picture that `change` makes of this one.
    fn score(&mut self, change: impl FnOnce(&mut [f32])) -> Result<f32, Error> {
        let scores = self.evaluation.rerun(|to| {
            to.copy_from_slice(self.input);
            change(to);
        })?;
        Ok(scores[self.class])
    }
}

/// The name that a request has for it, and serialisation.
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
            Method::SmoothGrad => Kind::Input(smooth_grad::map),
            Method::IntegratedGradients => Kind::Input(integrated_gradients::map),
        }
    }

    /// Whether it judges the pixels of the input, whatever layer is asked for.
    pub fn is_of_input(self) -> bool {
        matches!(self.kind(), Kind::Input(_) | Kind::Pixels(_))
    }

    /// Whether it runs the network, or a part of it, more than once for a class.
    pub fn is_slow(self) -> bool {
        matches!(self.kind(), Kind::Input(_) | Kind::Predictions(_) | Kind::Replays(_))
    }

    /// The layer it is made at, if `layer` is asked for.
    pub fn layer(self, layer: &Layer) -> Layer {
        if self.is_of_input() { Layer::Input } else { layer.clone() }
    }

    /// Whether it needs an explainer that replays (`Explainer::load_replaying`).
    pub(crate) fn replays(self) -> bool {
        matches!(self.kind(), Kind::Replays(_))
    }
}

impl Evaluation<'_> {
    /// A heatmap of each class, of the explainer that [`crate::Explainers::for_explaining`] gave for
    /// `method`. `fill` writes the picture that was evaluated: some methods run it again.
    ///
    /// # Errors
    /// [`crate::Explainer::why_not`]'s, [`Error::NoSuchClass`], [`Error::Stopped`], [`Error::Failed`].
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
            evaluation.differentiate(class)?;
            map(evaluation.activations()?.view(), evaluation.gradients()?.view())
        }
        Kind::Pixels(map) => {
            evaluation.differentiate(class)?;
            map(evaluation.gradients()?.view())
        }
        Kind::Activations(map) => map(evaluation.activations()?.view()),
        Kind::Input(map) => probing(evaluation, class, fill, watch, map)?,
        Kind::Predictions(map) | Kind::Replays(map) => {
            let activations = evaluation.activations()?.into_owned();
            let map = |probe: &mut Probe<'_, '_>| map(probe, activations.view());
            probing(evaluation, class, fill, watch, map)?
        }
    };
    Ok(Heatmap::from_map(map))
}

fn probing(
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

/// The sum over channels, place by place.
fn sum_over_channels(maps: &Array3<f32>) -> Array2<f32> {
    maps.sum_axis(Axis(0))
}

/// The activations' channels, each times its weight, summed; negative values cut off. Place by
/// place: the channels of one lie side by side in memory.
fn weighed(activations: ArrayView3<f32>, weights: &[f32]) -> Array2<f32> {
    let weights = ArrayView1::from(weights);
    positive(activations.map_axis(Axis(0), |channels| channels.dot(&weights)))
}

fn positive(mut map: Array2<f32>) -> Array2<f32> {
    map.mapv_inplace(|value| value.max(0.0));
    map
}

/// The largest gradient of a pixel's channels, by absolute value; the strongest hundredth of the
/// pixels count as one value, so that few do not hide the rest.
fn strongest(gradients: ArrayView3<f32>) -> Array2<f32> {
    clipped(gradients.fold_axis(Axis(0), 0.0, |largest: &f32, value| largest.max(value.abs())))
}

/// Values above the 99th percentile, held to it.
fn clipped(mut map: Array2<f32>) -> Array2<f32> {
    let mut sorted: Vec<f32> = map.iter().copied().collect();
    let place = sorted.len() * 99 / 100;
    if place < sorted.len() {
        let (_, &mut limit, _) = sorted.select_nth_unstable_by(place, f32::total_cmp);
        if limit > 0.0 {
            map.mapv_inplace(|value| value.min(limit));
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

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
    fn maps_by_hand() {
        let (a, g) = (activations(), gradients());
        // Weights 3 and -1.
        close(&grad_cam::map(a.view(), g.view()), &array![[3.0, 2.0, 0.0]]);
        // Products, summed: 3, 6, -2.
        close(&hires_cam::map(a.view(), g.view()), &array![[3.0, 6.0, 0.0]]);
        close(&layer_cam::map(a.view(), g.view()), &array![[3.0, 6.0, 0.0]]);
        // Weights (3 * 1 + 3 * 2) / 3 = 3 and -2 / 5.
        close(&xgrad_cam::map(a.view(), g.view()), &array![[3.0, 4.4, 0.0]]);
        // First channel: each place 9 / (18 + 3 * 27), times 3, three times; the second has none.
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
