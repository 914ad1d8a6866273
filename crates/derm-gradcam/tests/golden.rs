//! Heatmaps and gradients equal those of pytorch-grad-cam and PyTorch on the same weights and input:
//! `models/zoo/golden`, written by `models/zoo/golden.py`.
//!
//! One test per network, which loads it once: all plans share its packed weights, and methods that
//! need the same plan share its forward pass.

#![allow(clippy::unwrap_used, missing_docs)]

use derm_gradcam::{
    Error, Evaluation, ExplainRequest, Explainer, Explainers, Heatmap, Layer, Method,
};
use derm_model::{EngineOptions, Graph, ModelSource, channels_last};
use derm_zoo::Entry;
use ndarray::{Array2, Array4};
use serde_json::Value;
use std::path::Path;

/// Largest absolute difference of heatmaps in 0..=1.
const TOLERANCE: f32 = 1e-3;
/// Of methods that sum over hundreds of predictions.
const SLOW_TOLERANCE: f32 = 5e-3;
/// `upsampled` and `input` hold every 16th row and column.
const STEP: usize = 16;

macro_rules! networks {
    ($($test:ident: $entry:literal,)*) => {
        $(
            #[test]
            fn $test() {
                check_network($entry);
            }
        )*

        const NETWORKS: &[&str] = &[$($entry),*];
    };
}

networks! {
    convnext_t: "convnext-t.opset13",
    deit_ti: "deit-ti.opset13",
    densenet121: "densenet121.opset13",
    efficientnet_b0: "efficientnet-b0.opset13",
    efficientnet_lite0: "efficientnet-lite0.opset13",
    efficientnetv2_s: "efficientnetv2-s.opset13",
    efficientnetv2_s_of_keras: "keras-efficientnetv2-s",
    inception_v3: "inception-v3.opset13",
    mobilenetv2: "mobilenetv2.opset13",
    mobilenetv3_l: "mobilenetv3-l.opset13",
    regnety_1_6: "regnety-1.6.opset13",
    resnet18: "resnet18.opset13",
    resnet50: "resnet50.opset13",
    vgg16: "vgg16.opset13",
}

#[test]
fn every_golden_heatmap_and_gradient_is_compared() {
    let has = |entry: &Entry, key: &str| golden(entry).get(key).is_some();
    let golden: Vec<Entry> =
        derm_zoo::ENTRIES.into_iter().filter(|entry| has(entry, "heatmap")).collect();
    assert_eq!(golden.len(), 14, "thirteen architectures of PyTorch and one of Keras");
    for entry in golden {
        assert!(NETWORKS.contains(&entry.name), "{}", entry.name);
        assert!(["upsampled", "layers", "methods", "input"].iter().all(|key| has(&entry, key)));
    }
}

fn check_network(name: &str) {
    let entry = derm_zoo::entry(name).unwrap();
    let golden = golden(&entry);
    let class = golden["class"].as_u64().unwrap() as usize;
    let explainers = load(&entry.make(&derm_zoo::folder()).unwrap());
    let mut failures = Vec::new();
    let mut compare = |what: &str, found: f32, tolerance: f32| {
        if found.is_nan() || found > tolerance {
            failures.push(format!("{what}: {found:e}"));
        }
    };

    let mut base = Picture::evaluated(explainers.base());
    let found = base.heatmap(Method::GradCam, class).unwrap();
    compare("gradcam", difference(found.values(), &grid(&golden["heatmap"])), TOLERANCE);
    let large = found.resized(entry.side, entry.side);
    let every = large.values().slice(ndarray::s![..;STEP, ..;STEP]).to_owned();
    compare("resized", difference(&every, &grid(&golden["upsampled"])), TOLERANCE);

    let methods = golden["methods"].as_object().unwrap();
    assert!(methods.len() >= 6, "{}", methods.len());
    for (name, expected) in methods {
        let method: Method = serde_json::from_value(Value::String(name.clone())).unwrap();
        let request = ExplainRequest { method, layer: Layer::Last };
        let found = if request.needs_own_plan() {
            explain(&explainers, &request, class).unwrap()
        } else {
            base.heatmap(method, class).unwrap()
        };
        // The sign of a principal component is arbitrary: either is right.
        let signs = match method {
            Method::EigenCam | Method::EigenGradCam => vec![&expected[0], &expected[1]],
            _ => vec![expected],
        };
        let differences = signs.iter().map(|sign| difference(found.values(), &grid(sign)));
        let tolerance = if method.is_slow() { SLOW_TOLERANCE } else { TOLERANCE };
        compare(name, differences.fold(f32::INFINITY, f32::min), tolerance);
    }
    drop(base);

    for (name, expected) in golden["layers"].as_object().unwrap() {
        let layer = Layer::Named(name.clone());
        let found = explain(&explainers, &ExplainRequest { layer, ..Default::default() }, class);
        compare(name, difference(found.unwrap().values(), &grid(expected)), TOLERANCE);
    }
    if let Err(failure) = check_input_gradient(&explainers, &golden) {
        failures.push(failure);
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Back through the whole network, with activations kept and recomputed as memory allows.
///
/// Where a unit is nearly zero, rounding decides on which side of its bend it is, differently with each
/// instruction set; on some networks PyTorch in float32 is as far from the float64 reference. So the input may
/// be made brighter or darker by a few roundings until the units are on the reference's side: DenseNet-121
/// is off by 1e-3, 2e-6 or 2e-3 between two neighbours. A wrong gradient is wrong for all of them.
fn check_input_gradient(explainers: &Explainers, golden: &Value) -> Result<(), String> {
    let request = ExplainRequest { method: Method::Saliency, layer: Layer::Input };
    let explainer = explainers.for_explaining(&request).unwrap();
    let input = derm_zoo::picture(explainer.manifest().input.shape());
    let rounding = golden["input_rounding"].as_f64().unwrap();
    let tolerance = (2.0 * rounding).max(5e-4);
    let nudges = [0.0, 3.0, -3.0, 1.0, -1.0, 8.0, -8.0].map(|n| 1.0 + n * f32::EPSILON);
    let mut errors = Vec::new();
    let agrees = nudges.iter().any(|nudge| {
        errors.push(gradient_error(&explainer, &input.mapv(|value| value * nudge), golden));
        errors.last().is_some_and(|&error| error <= tolerance)
    });
    if agrees { Ok(()) } else { Err(format!("input: {errors:?}, PyTorch's {rounding:e}")) }
}

/// How far the input's gradient is from the golden one, of this input.
fn gradient_error(explainer: &Explainer, input: &Array4<f32>, golden: &Value) -> f64 {
    let layout = explainer.manifest().input.layout;
    let mut evaluation = explainer.run(|to| channels_last(layout, input, to)).unwrap();
    evaluation.run_backward(golden["class"].as_u64().unwrap() as usize).unwrap();
    let gradient = evaluation.gradients().unwrap();
    let norm = golden["input_norm"].as_f64().unwrap();
    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let own = length(&mut gradient.iter().map(|&value| f64::from(value)));
    let channels: Vec<Vec<Vec<f64>>> = serde_json::from_value(golden["input"].clone()).unwrap();
    let expected: Vec<f64> = channels.into_iter().flatten().flatten().collect();
    let thinned = gradient.slice(ndarray::s![.., ..;STEP, ..;STEP]);
    assert_eq!(thinned.len(), expected.len());
    let pairs = thinned.iter().zip(&expected);
    let off = length(&mut pairs.map(|(&found, expected)| f64::from(found) - expected))
        / length(&mut expected.iter().copied());
    off.max((own - norm).abs() / norm)
}

/// The newest exporter of PyTorch leads to maps of the same size.
/// Grad-CAM of the network that `models/zoo/int8.py` quantised, where that is: positions in the order that
/// they have in the float32 network's heatmap.
#[test]
fn a_quantised_network_is_explained_as_it_was_before() {
    let name = "efficientnet-lite0.opset13";
    let quantised = derm_zoo::folder().join(format!("{name}.int8"));
    if !quantised.join("model.onnx").is_file() {
        return;
    }
    let entry = derm_zoo::entry(name).unwrap();
    let float = load(&entry.make(&derm_zoo::folder()).unwrap());
    let class = golden(&entry)["class"].as_u64().unwrap() as usize;
    let request = ExplainRequest::default();
    let found = explain(&load(&quantised), &request, class).unwrap();
    let expected = explain(&float, &request, class).unwrap();
    let correlation = rank_correlation(found.values(), expected.values());
    assert!(correlation >= 0.9, "{correlation}");
}

/// Spearman's coefficient; equal values have the mean of their ranks.
fn rank_correlation(a: &Array2<f32>, b: &Array2<f32>) -> f64 {
    let ranks = |values: &Array2<f32>| -> Vec<f64> {
        let rank = |value: &f32| {
            let below = values.iter().filter(|other| *other < value).count();
            let equal = values.iter().filter(|other| *other == value).count();
            below as f64 + equal as f64 / 2.0
        };
        values.iter().map(rank).collect()
    };
    let (a, b) = (ranks(a), ranks(b));
    let mean = a.len() as f64 / 2.0;
    let product = |a: &[f64], b: &[f64]| -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum()
    };
    product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt()
}

#[test]
fn the_newest_opset_is_explained_too() {
    for entry in derm_zoo::ENTRIES.iter().filter(|entry| entry.name.ends_with("opset23")) {
        let older = derm_zoo::entry(&entry.name.replace("opset23", "opset13")).unwrap();
        let explainers = load(&entry.make(&derm_zoo::folder()).unwrap());
        let found = explain(&explainers, &ExplainRequest::default(), 0).unwrap();
        let expected = grid(&golden(&older)["heatmap"]).dim();
        assert_eq!(found.values().dim(), expected, "{}", entry.name);
    }
}

#[test]
fn a_graph_with_an_operator_without_a_rule_still_predicts_and_names_it() {
    let explainers = load(&derm_zoo::make_unexplained(&derm_zoo::folder()).unwrap());
    let reason = explainers.base().why_not().unwrap().to_string();
    assert!(reason.contains("operator Cos") && reason.contains("node"), "{reason}");
    assert_eq!(explainers.base().run(|to| to.fill(0.5)).unwrap().scores.len(), 7);
    let Err(Error::NoRule { operator, .. }) = explain(&explainers, &ExplainRequest::default(), 0)
    else {
        panic!("it has no rule");
    };
    assert_eq!(operator, "Cos");
}

#[test]
fn a_class_or_layer_that_is_not_there_is_an_error() {
    let entry = derm_zoo::entry("mobilenetv2.opset13").unwrap();
    let explainers = load(&entry.make(&derm_zoo::folder()).unwrap());
    let found = explain(&explainers, &ExplainRequest::default(), 7);
    assert!(matches!(found, Err(Error::NoSuchClass(7))));
    let layer = Layer::Named("nowhere".to_owned());
    let found = explain(&explainers, &ExplainRequest { layer, ..Default::default() }, 0);
    assert!(matches!(found, Err(Error::NoSuchLayer(_))));
}

#[test]
fn the_progress_callback_can_stop_an_explanation() {
    let entry = derm_zoo::entry("mobilenetv2.opset13").unwrap();
    let explainers = load(&entry.make(&derm_zoo::folder()).unwrap());
    let fill = |to: &mut [f32]| to.fill(0.5);
    for method in [Method::ScoreCam, Method::AblationCam, Method::SmoothGrad] {
        let request = ExplainRequest { method, layer: Layer::Last };
        let explainer = explainers.for_explaining(&request).unwrap();
        let mut evaluation = explainer.run(fill).unwrap();
        let mut calls = 0;
        let mut watch = |done: usize, total: usize| {
            assert!(done < total);
            calls += 1;
            calls < 3
        };
        let ended = evaluation.explain(method, &[0], &fill, &mut watch);
        assert!(matches!(ended, Err(Error::Stopped)), "{method:?}");
        // The evaluated input can still be explained.
        let (once, fresh) = {
            let at_once = |evaluation: &mut Evaluation<'_>| {
                let found = evaluation.explain(Method::EigenCam, &[0], &fill, &mut |_, _| true);
                found.unwrap().remove(0)
            };
            (at_once(&mut evaluation), at_once(&mut explainer.run(fill).unwrap()))
        };
        assert_eq!(once, fresh);
        assert_eq!(calls, 3);
    }
}

fn golden(entry: &Entry) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/zoo/golden");
    let text = std::fs::read_to_string(folder.join(format!("{}.json", entry.name))).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn grid(value: &Value) -> Array2<f32> {
    let rows: Vec<Vec<f32>> = serde_json::from_value(value.clone()).unwrap();
    let shape = (rows.len(), rows[0].len());
    Array2::from_shape_vec(shape, rows.into_iter().flatten().collect()).unwrap()
}

fn load(folder: &Path) -> Explainers {
    let source = ModelSource::at(folder);
    let graph = Graph::load(&source).unwrap();
    Explainers::new(source, graph, EngineOptions::default()).unwrap()
}

/// Writes an input.
type Fill = Box<dyn Fn(&mut [f32])>;

/// One run on the input of the golden files.
struct Picture<'a> {
    evaluation: Evaluation<'a>,
    fill: Fill,
}

impl<'a> Picture<'a> {
    fn evaluated(explainer: &'a Explainer) -> Picture<'a> {
        let spec = &explainer.manifest().input;
        let (layout, input) = (spec.layout, derm_zoo::picture(spec.shape()));
        let fill: Fill = Box::new(move |to| channels_last(layout, &input, to));
        Picture { evaluation: explainer.run(&fill).unwrap(), fill }
    }

    fn heatmap(&mut self, method: Method, class: usize) -> Result<Heatmap, Error> {
        let found = self.evaluation.explain(method, &[class], &self.fill, &mut |_, _| true)?;
        Ok(found.into_iter().next().unwrap())
    }
}

fn explain(
    explainers: &Explainers,
    request: &ExplainRequest,
    class: usize,
) -> Result<Heatmap, Error> {
    let explainer = explainers.for_explaining(request)?;
    Picture::evaluated(&explainer).heatmap(request.method, class)
}

fn difference(ours: &Array2<f32>, theirs: &Array2<f32>) -> f32 {
    assert_eq!(ours.dim(), theirs.dim());
    // Unlike `f32::max`, this does not drop a NaN.
    let larger = |largest: f32, d: &f32| if d.abs() <= largest { largest } else { d.abs() };
    (ours - theirs).iter().fold(0.0, larger)
}
