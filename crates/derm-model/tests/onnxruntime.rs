//! Every architecture of the zoo, through both exporters, answers what onnxruntime answers:
//! `models/zoo/golden`, made by `models/zoo/golden.py`.

#![allow(clippy::unwrap_used, missing_docs)]

use derm_model::{
    EngineOptions, Graph, Isa, Manifest, ModelSource, PackedWeightCache, Plan, Precision,
    ThreadPool,
};
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
    let plan =
        Plan::new(&graph, &EngineOptions::default(), &mut PackedWeightCache::default()).unwrap();
    let scores = plan.scores(&derm_zoo::picture(manifest.input.shape())).unwrap();
    let ours = manifest.probabilities(&scores);
    let theirs = manifest.probabilities(&golden(name, key));
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The networks named in `DERM_ZOO_MODELS`, else all: under an emulator they take minutes.
fn entries() -> Vec<derm_zoo::Entry> {
    match std::env::var("DERM_ZOO_MODELS") {
        Ok(names) => names.split(',').map(|name| derm_zoo::entry(name).unwrap()).collect(),
        Err(_) => derm_zoo::ENTRIES.to_vec(),
    }
}

#[test]
fn every_model_answers_as_onnxruntime_does() {
    let mut failures = Vec::new();
    for entry in entries() {
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

/// Float16 weights of a float32 file, several threads, and every instruction set of this machine
/// (the portable one, too) give the same answer.
#[test]
fn other_settings_change_nothing() {
    for name in ["efficientnet-lite0.opset13", "convnext-t.opset13"] {
        let entry = derm_zoo::entry(name).unwrap();
        let graph =
            Graph::load(&ModelSource::at(entry.make(&derm_zoo::folder()).unwrap())).unwrap();
        let manifest = graph.manifest();
        let input = derm_zoo::picture(manifest.input.shape());
        let expected = manifest.probabilities(&golden(name, "scores"));
        let mut plain =
            Plan::new(&graph, &EngineOptions::default(), &mut PackedWeightCache::default())
                .unwrap();
        for isa in Isa::available() {
            for (precision, threads, tolerance) in
                [(Some(Precision::F32), 1, TOLERANCE), (Some(Precision::F16), 3, 1e-3)]
            {
                let threads = ThreadPool::new(threads);
                let options = EngineOptions { precision, isa, threads, ..EngineOptions::default() };
                plain = Plan::new(&graph, &options, &mut PackedWeightCache::default()).unwrap();
                let found = manifest.probabilities(&plain.scores(&input).unwrap());
                for (a, b) in found.iter().zip(&expected) {
                    assert!((a - b).abs() <= tolerance, "{name} {options:?}: {a} {b}");
                }
            }
        }
        // A second run reads nothing that the first one left.
        let (first, second) = (plain.scores(&input).unwrap(), plain.scores(&input).unwrap());
        assert_eq!(first, second);
        assert_eq!(plain.idle_bytes(), plain.arena_bytes());
        plain.release_idle();
        assert_eq!(plain.idle_bytes(), 0);
    }
}
