//! Heatmaps equal those of pytorch-grad-cam on the same weights and input: `models/zoo/golden`,
//! made by `models/zoo/golden.py`.

#![allow(clippy::unwrap_used, missing_docs)]

use derm_gradcam::{Error, Explainer, Explainers, Heatmap, Layer, Method, Wanted};
use derm_model::{Graph, Kernels, ModelSource, Settings, channels_last};
use derm_zoo::Entry;
use ndarray::{Array2, Array4};
use serde_json::Value;
use std::path::Path;

/// Largest difference, of 1.0.
const TOLERANCE: f32 = 1e-3;
/// Of methods that add up hundreds of predictions.
const SLOW_TOLERANCE: f32 = 5e-3;
/// `upsampled` holds every 16th row and column.
const STEP: usize = 16;

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
    Explainers::new(source, graph, Settings::default()).unwrap()
}

fn explain(explainers: &Explainers, wanted: &Wanted, class: usize) -> Result<Heatmap, Error> {
    let spec = &explainers.base().manifest().input;
    let input = derm_zoo::picture(spec.shape());
    let fill = |to: &mut [f32]| channels_last(spec.layout, &input, to);
    let explainer = explainers.for_explaining(wanted)?;
    let mut evaluation = explainer.run(fill).unwrap();
    let found = evaluation.explain(wanted.method, &[class], &fill, &mut |_, _| true)?;
    Ok(found.into_iter().next().unwrap())
}

fn grad_cam(entry: &Entry, layer: &Layer, class: usize) -> Result<Heatmap, Error> {
    let explainers = load(&entry.make(&derm_zoo::folder()).unwrap());
    explain(&explainers, &Wanted { method: Method::GradCam, layer: layer.clone() }, class)
}

fn difference(ours: &Array2<f32>, theirs: &Array2<f32>) -> f32 {
    assert_eq!(ours.dim(), theirs.dim());
    (ours - theirs).iter().fold(0.0, |largest, d| largest.max(d.abs()))
}

#[test]
fn grad_cam_at_the_automatic_layer() {
    let mut checked = 0;
    let mut failures = Vec::new();
    for entry in derm_zoo::ENTRIES {
        let golden = golden(&entry);
        let Some(expected) = golden.get("heatmap") else { continue };
        let class = golden["class"].as_u64().unwrap() as usize;
        let heatmap = grad_cam(&entry, &Layer::Last, class).unwrap();
        let found = difference(heatmap.values(), &grid(expected));
        let large = heatmap.resized(entry.side, entry.side);
        let every = large.values().slice(ndarray::s![..;STEP, ..;STEP]).to_owned();
        let found_large = difference(&every, &grid(&golden["upsampled"]));
        if found.max(found_large) > TOLERANCE {
            failures.push(format!("{}: {found:e}, resized {found_large:e}", entry.name));
        }
        checked += 1;
    }
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(checked, 14, "thirteen architectures of PyTorch and one of Keras");
}

#[test]
fn earlier_layers_by_name() {
    let mut failures = Vec::new();
    let mut checked = 0;
    for entry in derm_zoo::ENTRIES {
        let golden = golden(&entry);
        let Some(layers) = golden.get("layers").and_then(Value::as_object) else { continue };
        let class = golden["class"].as_u64().unwrap() as usize;
        for (name, expected) in layers {
            let heatmap = grad_cam(&entry, &Layer::Named(name.clone()), class).unwrap();
            let found = difference(heatmap.values(), &grid(expected));
            if found > TOLERANCE {
                failures.push(format!("{} at {name}: {found:e}", entry.name));
            }
            checked += 1;
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(checked >= 7, "{checked}");
}

/// Every other method at the same map, on the networks that pytorch-grad-cam made it for.
#[test]
fn every_method_at_the_automatic_layer() {
    let mut failures = Vec::new();
    let mut checked = 0;
    for entry in derm_zoo::ENTRIES {
        let golden = golden(&entry);
        let Some(methods) = golden.get("methods").and_then(Value::as_object) else { continue };
        let class = golden["class"].as_u64().unwrap() as usize;
        let explainers = load(&entry.make(&derm_zoo::folder()).unwrap());
        for (name, expected) in methods {
            let method: Method = serde_json::from_value(Value::String(name.clone())).unwrap();
            let wanted = Wanted { method, layer: Layer::Last };
            let heatmap = explain(&explainers, &wanted, class).unwrap();
            // A principal component has no sign of its own: either is right.
            let signs = match method {
                Method::EigenCam | Method::EigenGradCam => vec![&expected[0], &expected[1]],
                _ => vec![expected],
            };
            let differences = signs.iter().map(|sign| difference(heatmap.values(), &grid(sign)));
            let found = differences.fold(f32::INFINITY, f32::min);
            let tolerance = if method.is_slow() { SLOW_TOLERANCE } else { TOLERANCE };
            if found > tolerance {
                failures.push(format!("{} {name}: {found:e}", entry.name));
            }
            checked += 1;
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(checked >= 14 * 6 + 2 * 2, "{checked}");
}

/// How far the input's gradient is from the golden one, of this picture.
fn gradient_error(explainer: &Explainer, input: &Array4<f32>, golden: &Value) -> f64 {
    let layout = explainer.manifest().input.layout;
    let mut evaluation = explainer.run(|to| channels_last(layout, input, to)).unwrap();
    evaluation.differentiate(golden["class"].as_u64().unwrap() as usize).unwrap();
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

/// Back through the whole network, with values kept and computed again as memory allows.
///
/// Where a unit is nearly zero, rounding decides on which side of its bend it is, differently with each
/// instruction set; on some networks PyTorch in float32 is as far from the float64 reference. So the picture may
/// be made brighter or darker by a few roundings until the units are on the reference's side: DenseNet-121
/// is off by 1e-3, 2e-6 or 2e-3 between two neighbours. A wrong gradient is wrong for all of them.
#[test]
fn the_gradient_of_the_input() {
    let mut failures = Vec::new();
    let mut checked = 0;
    for entry in derm_zoo::ENTRIES {
        let golden = golden(&entry);
        if golden.get("input").is_none() {
            continue;
        }
        let source = ModelSource::at(entry.make(&derm_zoo::folder()).unwrap());
        let (settings, mut kernels) = (Settings::default(), Kernels::default());
        let explainer = Explainer::load(&source, &Layer::Input, &settings, &mut kernels).unwrap();
        let input = derm_zoo::picture(explainer.manifest().input.shape());
        let rounding = golden["input_rounding"].as_f64().unwrap();
        let tolerance = (2.0 * rounding).max(5e-4);
        let nudges = [0.0, 3.0, -3.0, 1.0, -1.0, 8.0, -8.0].map(|n| 1.0 + n * f32::EPSILON);
        let mut errors = Vec::new();
        let agrees = nudges.iter().any(|nudge| {
            errors.push(gradient_error(&explainer, &input.mapv(|value| value * nudge), &golden));
            errors.last().is_some_and(|&error| error <= tolerance)
        });
        if !agrees {
            failures.push(format!("{}: {errors:?}, PyTorch's {rounding:e}", entry.name));
        }
        checked += 1;
    }
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(checked, 14, "thirteen architectures of PyTorch and one of Keras");
}

/// The newest exporter of PyTorch leads to maps of the same places.
#[test]
fn the_newest_opset_is_explained_too() {
    for entry in derm_zoo::ENTRIES.iter().filter(|entry| entry.name.ends_with("opset23")) {
        let older = derm_zoo::entry(&entry.name.replace("opset23", "opset13")).unwrap();
        let maps = [entry, &older].map(|entry| grad_cam(entry, &Layer::Last, 0).unwrap());
        assert_eq!(maps[0].values().dim(), maps[1].values().dim(), "{}", entry.name);
    }
}

#[test]
fn a_graph_with_an_operator_without_rule_still_predicts_and_names_it() {
    let explainers = load(&derm_zoo::make_unexplained(&derm_zoo::folder()).unwrap());
    let reason = explainers.base().why_not().unwrap().to_string();
    assert!(reason.contains("operator Cos") && reason.contains("node"), "{reason}");
    assert_eq!(explainers.base().run(|to| to.fill(0.5)).unwrap().scores.len(), 7);
    let Err(Error::NoRule { operator, .. }) = explain(&explainers, &Wanted::default(), 0) else {
        panic!("it has no rule");
    };
    assert_eq!(operator, "Cos");
}

#[test]
fn a_class_or_layer_that_is_not_there_is_an_error() {
    let entry = derm_zoo::entry("mobilenetv2.opset13").unwrap();
    assert!(matches!(grad_cam(&entry, &Layer::Last, 7), Err(Error::NoSuchClass(7))));
    let layer = Layer::Named("nowhere".to_owned());
    assert!(matches!(grad_cam(&entry, &layer, 0), Err(Error::NoSuchLayer(_))));
}

#[test]
fn work_that_is_watched_can_be_ended() {
    let entry = derm_zoo::entry("mobilenetv2.opset13").unwrap();
    let explainers = load(&entry.make(&derm_zoo::folder()).unwrap());
    let fill = |to: &mut [f32]| to.fill(0.5);
    for method in [Method::ScoreCam, Method::AblationCam, Method::SmoothGrad] {
        let wanted = Wanted { method, layer: Layer::Last };
        let explainer = explainers.for_explaining(&wanted).unwrap();
        let mut evaluation = explainer.run(fill).unwrap();
        let mut calls = 0;
        let mut watch = |done: usize, total: usize| {
            assert!(done < total);
            calls += 1;
            calls < 3
        };
        let ended = evaluation.explain(method, &[0], &fill, &mut watch);
        assert!(matches!(ended, Err(Error::Stopped)), "{method:?}");
        // What was evaluated is still known.
        let (once, fresh) = {
            let at_once = |evaluation: &mut derm_gradcam::Evaluation<'_>| {
                let found = evaluation.explain(Method::EigenCam, &[0], &fill, &mut |_, _| true);
                found.unwrap().remove(0)
            };
            (at_once(&mut evaluation), at_once(&mut explainer.run(fill).unwrap()))
        };
        assert_eq!(once, fresh);
        assert_eq!(calls, 3);
    }
}
