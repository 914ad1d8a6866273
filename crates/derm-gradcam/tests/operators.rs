//! The gradient of each operator that image classifiers use equals PyTorch's:
//! `models/zoo/operators`, made by `models/zoo/operators.py`.

#![allow(clippy::unwrap_used, missing_docs)]

use derm_gradcam::{Explainer, Layer};
use derm_model::{Isa, Kernels, ModelSource, Precision, Settings};
use serde_json::Value;
use std::path::Path;

const SIDE: usize = 6;

const MANIFEST: &str = "name = \"operator\"\noutput = \"logits\"\nprovenance = \"a test\"\n\n\
    [input]\nheight = 6\nwidth = 6\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n\
    fit = { crop_shortest_side = 6 }\n\n[[classes]]\nid = \"a\"\n\n[[classes]]\nid = \"b\"\n";

/// Rows, columns, channels.
fn picture(input: &mut [f32]) {
    for (place, value) in input.iter_mut().enumerate() {
        let (pixel, channel) = (place / 3, place % 3);
        let number = channel * SIDE * SIDE + pixel;
        *value = (((number * 37 + 11) % 109) as f64 / 54.0 - 1.0) as f32;
    }
}

#[test]
fn gradients_equal_pytorchs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/zoo/operators");
    let golden = std::fs::read_to_string(folder.join("golden.json")).unwrap();
    let golden: serde_json::Map<String, Value> = serde_json::from_str(&golden).unwrap();
    let work = tempfile::tempdir().unwrap();
    let mut failures = Vec::new();
    for (name, expected) in &golden {
        let place = work.path().join(name);
        std::fs::create_dir(&place).unwrap();
        std::fs::copy(folder.join(format!("{name}.onnx")), place.join("model.onnx")).unwrap();
        std::fs::write(place.join("model.toml"), MANIFEST).unwrap();
        for isa in Isa::available() {
            let precision = Some(Precision::F32);
            let settings = Settings { isa, precision, ..Settings::default() };
            let source = ModelSource::at(&place);
            let explainer =
                match Explainer::load(&source, &Layer::Input, &settings, &mut Kernels::default()) {
                    Ok(explainer) => explainer,
                    Err(error) => {
                        failures.push(format!("{name}: {error}"));
                        continue;
                    }
                };
            let mut evaluation = explainer.run(picture).unwrap();
            if let Err(error) = evaluation.differentiate(0) {
                failures.push(format!("{name}: {error}"));
                continue;
            }
            let numbers = |value: &Value| -> Vec<f64> {
                let mut found = Vec::new();
                let mut open = vec![value];
                while let Some(value) = open.pop() {
                    match value {
                        Value::Array(list) => open.extend(list.iter().rev()),
                        number => found.push(number.as_f64().unwrap()),
                    }
                }
                found
            };
            let far = |found: Vec<f32>, expected: Vec<f64>| {
                let length =
                    |list: &mut dyn Iterator<Item = f64>| list.map(|v| v * v).sum::<f64>().sqrt();
                let pairs = found.iter().zip(&expected);
                let off = length(&mut pairs.map(|(&found, expected)| f64::from(found) - expected));
                off / length(&mut expected.iter().copied())
            };
            let scores = far(evaluation.scores.clone(), numbers(&expected["scores"]));
            let gradient = evaluation.gradients().unwrap().iter().copied().collect();
            let gradient = far(gradient, numbers(&expected["gradient"]));
            if scores.is_nan() || gradient.is_nan() || scores.max(gradient) > 1e-5 {
                failures.push(format!("{name} {isa:?}: scores {scores:e}, gradient {gradient:e}"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(golden.len() >= 50, "{}", golden.len());
}
