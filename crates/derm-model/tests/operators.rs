//! Every operator that is executed answers what onnxruntime answers: small models of one operator
//! each, `operators/cases.jsonl`, written by `operators/cases.py`. What agrees is the list of verified
//! operators, `src/operators/verified.toml`, which `docs/operators.md` shows. With
//! `UPDATE_OPERATORS=1` both are written anew.

#![allow(clippy::unwrap_used, missing_docs)]

mod list;

use base64::Engine as _;
use derm_model::{EngineOptions, Error, Graph, ModelSource, PackedWeightCache, Plan};
use list::{Case, List};
use std::path::{Path, PathBuf};

/// Largest difference of a weighted sum, relative to the largest value times the root of their
/// number.
const TOLERANCE: f64 = 2e-4;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(folder().join("tests/operators/cases.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What came of a case.
enum Outcome {
    Same,
    Refused(String),
    /// Another answer, and whether the list refuses it.
    Different {
        message: String,
        unverified: bool,
    },
}

fn outcome(case: &Case, folder: &Path) -> Outcome {
    let classes: String = (0..case.expected[0] as usize)
        .map(|class| format!("[[classes]]\nid = \"c{class}\"\n"))
        .collect();
    let manifest = format!(
        "name = \"operator\"\noutput = \"logits\"\n[input]\nheight = 6\nwidth = 6\nmean = [0.5, 0.5, 0.5]\n\
         std = [0.5, 0.5, 0.5]\nfit = \"stretch\"\n{classes}"
    );
    std::fs::write(folder.join("model.toml"), manifest).unwrap();
    let model = base64::engine::general_purpose::STANDARD.decode(&case.model).unwrap();
    std::fs::write(folder.join("model.onnx"), model).unwrap();
    let graph = match Graph::load(&ModelSource::at(folder)) {
        Ok(graph) => graph,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    let options = EngineOptions { allow_unverified: true, ..EngineOptions::default() };
    let plan = match Plan::new(&graph, &options, &mut PackedWeightCache::default()) {
        Ok(plan) => plan,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    let run = match plan.run(derm_zoo::operator_picture) {
        Ok(run) => run,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    let values: Vec<f64> = run.output(0).iter().map(|&value| f64::from(value)).collect();
    let off = difference(&values, case);
    // Float16 values stay float32 between operators.
    let tolerance = if case.name.contains("float16") { 10.0 * TOLERANCE } else { TOLERANCE };
    if off <= tolerance {
        return Outcome::Same;
    }
    Outcome::Different {
        message: format!("off by {off:.1e}"),
        unverified: !graph.unverified().is_empty(),
    }
}

/// The largest difference of the weighted sums that `builder.py` stores.
fn difference(values: &[f64], case: &Case) -> f64 {
    let scale = (case.largest * (values.len() as f64).sqrt()).max(1e-6);
    let sums = case.expected[1..].iter().enumerate().map(|(number, expected)| {
        let weight = |place: usize| ((place + 1) as f64 * (number + 1) as f64 * 0.7391).sin();
        let sum: f64 = values.iter().enumerate().map(|(place, value)| value * weight(place)).sum();
        let off = (sum - expected).abs() / scale;
        if off.is_nan() { f64::INFINITY } else { off }
    });
    sums.fold(0.0, f64::max)
}

#[test]
fn what_is_executed_agrees_with_onnxruntime_and_is_listed() {
    let work = tempfile::tempdir().unwrap();
    let mut list = List::default();
    let (mut wrong, mut others) = (Vec::new(), Vec::new());
    for case in cases() {
        match outcome(&case, work.path()) {
            Outcome::Same => list.add(&case),
            Outcome::Refused(reason) => others.push(format!("{}: {reason}", case.name)),
            Outcome::Different { message, unverified } => {
                others.push(format!("{}: {message}", case.name));
                if !unverified {
                    wrong.push(format!("{}: {message}", case.name));
                }
            }
        }
    }
    let (data, page) = (list.toml(), list.page(&others));
    let files = [
        (folder().join("src/operators/verified.toml"), data),
        (folder().join("../../docs/operators.md"), page),
    ];
    let update = std::env::var_os("UPDATE_OPERATORS").is_some();
    for (path, text) in &files {
        if update {
            std::fs::write(path, text).unwrap();
            continue;
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(
            &found, text,
            "{path:?} is not what the cases show: run with UPDATE_OPERATORS=1"
        );
    }
    // The list that is compiled in is the one before an update.
    assert!(update || wrong.is_empty(), "executed, listed and wrong: {wrong:#?}");
}

/// A model with an operator that is not listed is refused by its name, unless that is allowed.
#[test]
fn an_operator_that_was_not_compared_is_refused_by_name() {
    let work = tempfile::tempdir().unwrap();
    let case = cases().into_iter().find(|case| case.name.starts_with("Relu")).unwrap();
    assert!(matches!(outcome(&case, work.path()), Outcome::Same));
    // The same file, said to be of a version of the standard that nobody compared.
    let path = work.path().join("model.onnx");
    let mut bytes = std::fs::read(&path).unwrap();
    // Field 8 of the model, with its content: no domain, and the version.
    let import = bytes.windows(3).rposition(|field| field == [0x42, 0x04, 0x0a]);
    let version = import.unwrap() + 5;
    assert_eq!(bytes[version - 1], 0x10);
    bytes[version] = 99;
    std::fs::write(&path, bytes).unwrap();
    let graph = Graph::load(&ModelSource::at(work.path())).unwrap();
    let plan = |allow_unverified| {
        let options = EngineOptions { allow_unverified, ..EngineOptions::default() };
        Plan::new(&graph, &options, &mut PackedWeightCache::default())
    };
    let Err(Error::Unverified(message)) = plan(false) else { panic!("not refused") };
    assert!(message.contains("Relu of opset 99"), "{message}");
    assert!(plan(true).is_ok());
}
