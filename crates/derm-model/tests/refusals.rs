//! What is wrong with a model is reported in one line, at load; no panic crosses the crate boundary.

#![allow(clippy::unwrap_used, missing_docs)]

use derm_model::{Error, Graph, ModelSource};
use std::path::PathBuf;

fn model() -> PathBuf {
    derm_zoo::entry("mobilenetv2.opset13").unwrap().make(&derm_zoo::folder()).unwrap()
}

/// The model with a manifest in which `from` became `to`.
fn load_with(from: &str, to: &str) -> Result<Graph, Error> {
    let folder = tempfile::tempdir().unwrap();
    let manifest = std::fs::read_to_string(model().join("model.toml")).unwrap();
    assert!(manifest.contains(from), "{manifest}");
    std::fs::write(folder.path().join("model.toml"), manifest.replace(from, to)).unwrap();
    std::fs::copy(model().join("model.onnx"), folder.path().join("model.onnx")).unwrap();
    Graph::load(&ModelSource::at(folder.path()))
}

fn one_line(result: Result<Graph, Error>) -> String {
    let message = result.expect_err("a refusal").to_string();
    assert!(!message.is_empty() && message.len() < 800, "{message}");
    message
}

#[test]
fn an_input_of_another_size_is_a_mismatch() {
    let message = one_line(load_with("= 224", "= 256"));
    assert!(message.contains("[1, 3, 224, 224]") && message.contains("256"), "{message}");
}

#[test]
fn another_layout_is_a_mismatch() {
    let message = one_line(load_with("[input]\n", "[input]\nlayout = \"nhwc\"\n"));
    assert!(message.contains("disagrees"), "{message}");
}

#[test]
fn another_number_of_classes_is_a_mismatch() {
    let message = one_line(load_with("[[classes]]\nid = \"c6\"\n", ""));
    assert!(message.contains('7') && message.contains('6'), "{message}");
}

#[test]
fn missing_files_are_named() {
    let message = one_line(Graph::load(&ModelSource::at("/no/such/model")));
    assert!(message.contains("/no/such/model.toml"), "{message}");
}

#[test]
fn files_that_are_no_models_are_refused() {
    let whole = std::fs::read(model().join("model.onnx")).unwrap();
    let manifest = std::fs::read(model().join("model.toml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.toml"), manifest).unwrap();
    let load = |bytes: &[u8]| {
        std::fs::write(folder.path().join("model.onnx"), bytes).unwrap();
        Graph::load(&ModelSource::at(folder.path()))
    };
    one_line(load(b""));
    one_line(load(b"not a model"));
    one_line(load(&whole[..whole.len() / 2]));
}

#[test]
fn an_operator_that_nothing_executes_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut network = derm_onnx::read(&model().join("model.onnx")).unwrap();
    let nodes = network.graph.as_mut().into_iter().flat_map(|graph| graph.node.iter_mut());
    for node in nodes.filter(|node| node.op_type == "GlobalAveragePool") {
        "ReverseSequence".clone_into(&mut node.op_type);
    }
    derm_onnx::write(&network, &folder.path().join("model.onnx")).unwrap();
    std::fs::copy(model().join("model.toml"), folder.path().join("model.toml")).unwrap();
    let message = one_line(Graph::load(&ModelSource::at(folder.path())));
    assert!(message.contains("ReverseSequence"), "{message}");
}

#[test]
fn an_out_of_distribution_score_must_be_there_and_one_number() {
    let with = |output: &str| {
        let uncertain = format!("[uncertain]\noutput = \"{output}\"\nthreshold = 1.0\n[input]\n");
        load_with("[input]\n", &uncertain)
    };
    let message = one_line(with("nowhere"));
    assert!(message.contains("nowhere") && message.contains("uncertain"), "{message}");
    let message = one_line(with("/blocks/blocks.5/blocks.5.2/Add_output_0"));
    assert!(message.contains("not one number"), "{message}");
}

#[test]
fn a_layer_that_is_not_there_is_named() {
    let source = ModelSource::at(model());
    let error = Graph::load_keeping(&source, &["nowhere"]).unwrap_err();
    assert!(matches!(error, Error::NoSuchLayer(name) if name == "nowhere"));
}
