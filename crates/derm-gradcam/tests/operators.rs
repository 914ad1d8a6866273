//! The gradient of each operator that image classifiers use equals PyTorch's.

#![allow(clippy::unwrap_used, missing_docs)]

use derm_gradcam::{Explainer, Layer};
use derm_model::{EngineOptions, Isa, ModelSource, PackedWeightCache, Precision};
use derm_zoo::{operator_picture, operators, relative_error};

#[test]
fn gradients_equal_pytorchs() {
    let folder = tempfile::tempdir().unwrap();
    let mut failures = Vec::new();
    let operators = operators().unwrap();
    for operator in &operators {
        let name = &operator.name;
        let source = ModelSource::at(operator.make(folder.path()).unwrap());
        for isa in Isa::available() {
            let precision = Some(Precision::F32);
            let options = EngineOptions { isa, precision, ..EngineOptions::default() };
            let mut cache = PackedWeightCache::default();
            let explainer = Explainer::load(&source, &Layer::Input, &options, &mut cache).unwrap();
            let mut evaluation = explainer.run(operator_picture).unwrap();
            if let Err(error) = evaluation.run_backward(0) {
                failures.push(format!("{name}: {error}"));
                continue;
            }
            let scores = relative_error(&evaluation.scores, &operator.scores);
            let gradient = evaluation.gradients().unwrap();
            let gradient = relative_error(&gradient, &operator.gradient);
            if scores.is_nan() || gradient.is_nan() || scores.max(gradient) > 1e-5 {
                failures.push(format!("{name} {isa:?}: scores {scores:e}, gradient {gradient:e}"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(operators.len() >= 70, "{}", operators.len());
}
