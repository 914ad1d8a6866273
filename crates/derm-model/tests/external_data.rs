//! External data: weights in files beside the graph's belong to the model as it was opened.

#![allow(clippy::unwrap_used, missing_docs)]
#![cfg(unix)]

use derm_model::{Error, Graph, ModelSource};
use protobuf::EnumOrUnknown;
use std::path::Path;

/// A model whose largest tensor is in `weights.bin`.
fn put(folder: &Path) {
    let made = derm_zoo::entry("mobilenetv2.opset13").unwrap().make(&derm_zoo::folder()).unwrap();
    std::fs::copy(made.join("model.toml"), folder.join("model.toml")).unwrap();
    let mut model = derm_onnx::read(&made.join("model.onnx")).unwrap();
    let tensors = &mut model.graph.mut_or_insert_default().initializer;
    let tensor = tensors.iter_mut().max_by_key(|tensor| tensor.raw_data.len()).unwrap();
    std::fs::write(folder.join("weights.bin"), std::mem::take(&mut tensor.raw_data)).unwrap();
    tensor.data_location = EnumOrUnknown::from_i32(1);
    tensor.external_data.push(Default::default());
    let entry = tensor.external_data.last_mut().unwrap();
    (entry.key, entry.value) = ("location".to_owned(), "weights.bin".to_owned());
    derm_onnx::write(&model, &folder.join("model.onnx")).unwrap();
}

#[test]
fn they_count_in_the_digest_and_are_read_as_they_were_opened() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("weights.bin");
    put(folder.path());
    let open = || ModelSource::at(folder.path()).open().unwrap();
    let first = open();
    let source = ModelSource::Opened(first.clone());
    Graph::load(&source).unwrap();
    let digest = first.verify().unwrap();
    assert_eq!(open().verify().unwrap(), digest);

    // Replaced by another file: what was opened can still be read, but not found by its path.
    let held = std::fs::read(&weights).unwrap();
    std::fs::remove_file(&weights).unwrap();
    assert!(!first.is_intact());
    std::fs::write(&weights, &held).unwrap();
    assert_eq!(first.verify().unwrap(), digest);
    Graph::load(&source).unwrap();

    // Overwritten in place.
    let second = open();
    assert_eq!(second.verify().unwrap(), digest);
    let mut other = held.clone();
    other[7] ^= 1;
    std::fs::write(&weights, &other).unwrap();
    let source = ModelSource::Opened(second.clone());
    assert!(matches!(Graph::load(&source), Err(Error::Changed { .. })));
    assert!(!second.is_intact());
    assert_ne!(open().verify().unwrap(), digest);
}

#[test]
fn a_missing_file_is_named_when_the_model_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path());
    std::fs::remove_file(folder.path().join("weights.bin")).unwrap();
    let error = ModelSource::at(folder.path()).open().unwrap_err().to_string();
    assert!(error.contains("weights.bin"), "{error}");
}
