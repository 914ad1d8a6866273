//! Heatmaps equal those of pytorch-grad-cam on the same weights and input: `models/zoo/golden`,
//! made by `models/zoo/golden.py`.

#![allow(clippy::unwrap_used, missing_docs)]

use derm_gradcam::{Error, Evaluation, Explainer, Heatmap, Layer};
use derm_model::{ModelSource, Settings, channels_last};
use derm_zoo::Entry;
use ndarray::Array2;
use serde_json::Value;
use std::path::Path;

/// Largest difference, of 1.0.
const TOLERANCE: f32 = 1e-3;
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

fn explain(entry: &Entry, layer: &Layer, class: usize) -> Result<Heatmap, Error> {
    let source = ModelSource::at(entry.make(&derm_zoo::folder()).unwrap());
    let explainer = Explainer::load(&source, layer, &Settings::default()).unwrap();
    let evaluation = run(&explainer);
    explainer.grad_cam(&evaluation, class)
}

fn run(explainer: &Explainer) -> Evaluation {
    let spec = &explainer.manifest().input;
    let input = derm_zoo::picture(spec.shape());
    explainer.run(|to| channels_last(spec.layout, &input, to)).unwrap()
}

fn difference(ours: &Array2<f32>, theirs: &Array2<f32>) -> f32 {
    assert_eq!(ours.dim(), theirs.dim());
    (ours - theirs).iter().fold(0.0, |largest, d| largest.max(d.abs()))
}

#[test]
fn the_last_feature_map_of_every_cnn() {
    let mut checked = 0;
    let mut failures = Vec::new();
    for entry in derm_zoo::ENTRIES {
        let golden = golden(&entry);
        let Some(expected) = golden.get("heatmap") else { continue };
        let class = golden["class"].as_u64().unwrap() as usize;
        let heatmap = explain(&entry, &Layer::Last, class).unwrap();
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
    assert_eq!(checked, 10, "nine architectures of PyTorch and one of Keras");
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
            let heatmap = explain(&entry, &Layer::Named(name.clone()), class).unwrap();
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

/// Both exporters of PyTorch lead to the same automatic target.
#[test]
fn the_newest_opset_is_explained_too() {
    for entry in derm_zoo::ENTRIES.iter().filter(|entry| entry.name.ends_with("opset23")) {
        let result = explain(entry, &Layer::Last, 0);
        if entry.name.starts_with("deit") {
            let Err(Error::NoRule { operator, .. }) = result else { panic!("{result:?}") };
            assert_eq!(operator, "Softmax");
        } else {
            let map = result.unwrap().values().dim();
            assert!([(7, 7), (10, 10)].contains(&map), "{}: {map:?}", entry.name);
        }
    }
}

#[test]
fn a_model_without_rules_still_predicts() {
    let entry = derm_zoo::entry("deit-ti.opset13").unwrap();
    let source = ModelSource::at(entry.make(&derm_zoo::folder()).unwrap());
    let explainer = Explainer::load(&source, &Layer::Last, &Settings::default()).unwrap();
    assert!(explainer.why_not().unwrap().to_string().contains("Softmax"));
    let evaluation = run(&explainer);
    assert_eq!(evaluation.scores.len(), 7);
    assert!(explainer.grad_cam(&evaluation, 0).is_err());
}

#[test]
fn a_class_or_layer_that_is_not_there_is_an_error() {
    let entry = derm_zoo::entry("mobilenetv2.opset13").unwrap();
    assert!(matches!(explain(&entry, &Layer::Last, 7), Err(Error::NoSuchClass(7))));
    let source = ModelSource::at(entry.make(&derm_zoo::folder()).unwrap());
    let layer = Layer::Named("nowhere".to_owned());
    let error = Explainer::load(&source, &layer, &Settings::default()).unwrap_err();
    assert!(matches!(error, derm_model::Error::NoSuchLayer(_)));
}
