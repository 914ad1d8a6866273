//! Operators without a differentiation rule: the graph predicts, and the refusal of a heatmap names operator and node.

#![allow(clippy::unwrap_used, missing_docs)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use derm_gradcam::{Error, ExplainRequest, Explainers, Layer};
use derm_model::{EngineOptions, Graph, ModelSource};
use std::path::Path;

/// The first of derm-model's small models of this operator, in a folder with its manifest.
fn make(operator: &str, folder: &Path) -> ModelSource {
    let cases =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../derm-model/tests/operators/cases.jsonl");
    let cases = std::fs::read_to_string(cases).unwrap();
    let mut cases =
        cases.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let case = cases.find(|case| case["operator"] == operator).unwrap();
    let classes = case["expected"][0].as_f64().unwrap() as usize;
    let classes: String =
        (0..classes).map(|class| format!("[[classes]]\nid = \"c{class}\"\n")).collect();
    let manifest = format!(
        "name = \"operator\"\noutput = \"logits\"\n[input]\nheight = 6\nwidth = 6\nfit = \"stretch\"\n{classes}"
    );
    std::fs::write(folder.join("model.toml"), manifest).unwrap();
    let model = STANDARD.decode(case["model"].as_str().unwrap()).unwrap();
    std::fs::write(folder.join("model.onnx"), model).unwrap();
    ModelSource::at(folder)
}

#[test]
fn recurrent_and_sampling_operators_are_named() {
    for operator in ["LSTM", "GRU", "RNN", "DeformConv", "RoiAlign"] {
        let folder = tempfile::tempdir().unwrap();
        let source = make(operator, folder.path());
        let graph = Graph::load(&source).unwrap();
        let explainers = Explainers::new(source, graph, EngineOptions::default()).unwrap();
        let request = ExplainRequest { layer: Layer::Input, ..ExplainRequest::default() };
        let message = match explainers.for_explaining(&request) {
            Err(error @ Error::NoRule { .. }) => error.to_string(),
            found => panic!("{operator}: {:?}", found.map(|_| ())),
        };
        assert!(message.contains(operator) && message.contains("node"), "{message}");
        assert!(!explainers.base().run(|to| to.fill(0.5)).unwrap().scores.is_empty());
    }
}
