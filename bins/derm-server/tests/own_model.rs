//! docs/your-own-model.md, walked: its Python exports a model, its manifest is written beside it,
//! and the server's answer is what the framework itself says of the same picture.
//!
//! `DERM_PYTHON` names interpreters by absolute path, with `:` between; the first that has a walk's
//! packages runs it.

#![allow(clippy::unwrap_used, missing_docs, clippy::print_stderr)]

mod common;

use common::{FORM, Server, form, picture, python_with};
use std::process::Command;

#[test]
fn from_pytorch() {
    walk("torch", "import torch, numpy, PIL");
}

#[test]
fn from_keras() {
    walk("keras", "import keras, tf2onnx, numpy, PIL");
}

fn walk(framework: &str, packages: &str) {
    let Some(python) = python_with(packages) else {
        eprintln!("SKIPPED: {framework}'s walk: DERM_PYTHON names no Python that can `{packages}`");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("example.jpg"), picture()).unwrap();
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/your-own-model.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    std::fs::write(at("walk.py"), blocks(&docs, "python", framework)).unwrap();
    std::fs::write(at("model.toml"), blocks(&docs, "toml", framework)).unwrap();
    let mut script = Command::new(python);
    let done = script.arg("walk.py").current_dir(folder.path()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let expected: Vec<f64> =
        serde_json::from_slice(&std::fs::read(at("expected.json")).unwrap()).unwrap();

    let model = folder.path().to_str().unwrap();
    let checked = common::output(&["--check"], &[("MODEL_PATH", model)]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let server = Server::start(&[("MODEL_PATH", model)]);
    let answer = server.post("/predict/", FORM, &form(&[("image", true, &picture())]));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert!(answer["heatmap"].is_string(), "{answer}");
    for (class, expected) in ["benign", "malignant", "other"].iter().zip(expected) {
        let results = answer["results"].as_array().unwrap();
        let result = results.iter().find(|result| result["class"] == *class).unwrap();
        let percent = result["probability"].as_f64().unwrap();
        assert!((percent - 100.0 * expected).abs() < 0.1, "{class}: {percent}, not {expected}");
    }
}

/// The blocks of one language that begin with `# framework`, one after another.
fn blocks(docs: &str, language: &str, framework: &str) -> String {
    let (fence, first) = (format!("```{language}\n"), format!("# {framework}\n"));
    let inside = docs.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap());
    let of_framework: Vec<&str> = inside.filter(|block| block.starts_with(&first)).collect();
    assert!(!of_framework.is_empty(), "no {language} for {framework}");
    of_framework.concat()
}
