//! Every architecture of the zoo, through both exporters, answers what onnxruntime answers:
//! `models/zoo/golden`, made by `models/zoo/golden.py`.

#![allow(clippy::unwrap_used, missing_docs)]

use derm_model::{Graph, Manifest, ModelSource, Plan, Settings};
use std::path::Path;

/// Largest difference of a probability, float32 and float16 files.
const TOLERANCE: f32 = 1e-4;

fn golden(name: &str, key: &str) -> Vec<f32> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/zoo/golden");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

fn difference(folder: &Path, name: &str, key: &str) -> f32 {
    let graph = Graph::load(&ModelSource::at(folder)).unwrap();
    let manifest: Manifest = (**graph.manifest()).clone();
    let plan = Plan::new(&graph, &Settings::default()).unwrap();
    let scores = plan.scores(&derm_zoo::picture(manifest.input.shape())).unwrap();
    let ours = manifest.output.probabilities(&scores);
    let theirs = manifest.output.probabilities(&golden(name, key));
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn every_model_answers_as_onnxruntime_does() {
    let mut failures = Vec::new();
    for entry in derm_zoo::ENTRIES {
        let wide = entry.make(&derm_zoo::folder()).unwrap();
        let half = entry.make_f16(&derm_zoo::folder()).unwrap();
        for (folder, key) in [(wide, "scores"), (half, "scores_f16")] {
            let difference = difference(&folder, entry.name, key);
            if difference > TOLERANCE {
                failures.push(format!("{} {key}: {difference:e}", entry.name));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
