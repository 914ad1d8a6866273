//! Files of a model: what is wrong with them is said in one line, without loading; weights in other
//! files may be reached through links, and lie inside the folder.

#![allow(clippy::unwrap_used, missing_docs)]

use derm_model::{Graph, ModelSource};
use prost::Message;
use std::path::Path;
use tempfile::TempDir;
use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{ModelProto, StringStringEntryProto};

fn model() -> std::path::PathBuf {
    derm_zoo::entry("mobilenetv2.opset13").unwrap().make(&derm_zoo::folder()).unwrap()
}

fn with_model(bytes: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(model().join("model.toml"), folder.path().join("model.toml")).unwrap();
    std::fs::write(folder.path().join("model.onnx"), bytes).unwrap();
    folder
}

#[track_caller]
fn fault(folder: &Path, expected: &str) {
    let source = ModelSource::at(folder);
    let message = source.open().unwrap_err().to_string();
    assert!(message.contains(expected) && !message.contains('\n'), "{message}");
    // Loading says the same.
    assert_eq!(Graph::load(&source).unwrap_err().to_string(), message);
}

#[test]
fn a_file_that_is_no_model_is_called_what_it_is() {
    let whole = std::fs::read(model().join("model.onnx")).unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    let cases: [(&[u8], &str); 7] = [
        (b"", "empty"),
        (pointer.as_bytes(), "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"PK\x03\x04....", "ZIP"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"not a model", "not an ONNX file"),
        (&whole[..whole.len() - 1], "cut short"),
    ];
    for (bytes, expected) in cases {
        fault(with_model(bytes).path(), expected);
    }
}

#[test]
fn folders_and_missing_files_are_named() {
    let folder = with_model(b"");
    std::fs::remove_file(folder.path().join("model.onnx")).unwrap();
    fault(folder.path(), "model.onnx");
    std::fs::create_dir(folder.path().join("model.onnx")).unwrap();
    fault(folder.path(), "a folder");
}

#[cfg(unix)]
#[test]
fn a_fifo_is_not_waited_for() {
    let folder = with_model(b"");
    let path = folder.path().join("model.onnx");
    std::fs::remove_file(&path).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    fault(folder.path(), "a FIFO");
    // Nor is a manifest.
    let manifest = folder.path().join("model.toml");
    std::fs::remove_file(&manifest).unwrap();
    std::fs::rename(&path, &manifest).unwrap();
    let message = ModelSource::at(folder.path()).manifest().unwrap_err().to_string();
    assert!(message.contains("model.toml") && message.contains("a FIFO"), "{message}");
}

#[test]
fn a_missing_manifest_says_how_to_make_one() {
    let folder = with_model(b"x");
    std::fs::remove_file(folder.path().join("model.toml")).unwrap();
    let message = ModelSource::at(folder.path()).manifest().unwrap_err().to_string();
    assert!(message.contains("model.toml") && message.contains("--new-manifest"), "{message}");
}

#[test]
fn a_model_goes_by_its_folder_its_file_and_its_manifest() {
    let folder = model();
    for path in [folder.clone(), folder.join("model.onnx"), folder.join("model.toml")] {
        let source = ModelSource::at(&path);
        source.open().unwrap();
        source.manifest().unwrap();
    }
}

/// The model with its large tensors in `weights.bin`, which it names so.
fn with_external_data(location: &str) -> TempDir {
    let bytes = std::fs::read(model().join("model.onnx")).unwrap();
    let mut network = ModelProto::decode(&bytes[..]).unwrap();
    let mut data = Vec::new();
    for tensor in &mut network.graph.as_mut().unwrap().initializer {
        if tensor.raw_data.len() < 1024 {
            continue;
        }
        let entry =
            |key: &str, value: String| StringStringEntryProto { key: key.to_owned(), value };
        tensor.external_data = vec![
            entry("location", location.to_owned()),
            entry("offset", data.len().to_string()),
            entry("length", tensor.raw_data.len().to_string()),
        ];
        tensor.data_location = Some(DataLocation::External as i32);
        data.append(&mut tensor.raw_data);
    }
    let folder = with_model(&network.encode_to_vec());
    std::fs::write(folder.path().join("weights.bin"), data).unwrap();
    folder
}

#[cfg(unix)]
#[test]
fn weights_may_be_reached_through_links_out_of_the_folder() {
    use std::os::unix::fs::symlink;
    // As in a Hugging Face cache: the files of a snapshot are links to blobs.
    let blobs = with_external_data("weights.bin");
    let snapshot = tempfile::tempdir().unwrap();
    for name in ["model.onnx", "model.toml", "weights.bin"] {
        symlink(blobs.path().join(name), snapshot.path().join(name)).unwrap();
    }
    let source = ModelSource::at(snapshot.path());
    source.open().unwrap();
    Graph::load(&source).unwrap();
    // As in a ConfigMap: links to links, of folders and files.
    let volume = tempfile::tempdir().unwrap();
    symlink(blobs.path(), volume.path().join("..2026")).unwrap();
    symlink("..2026", volume.path().join("..data")).unwrap();
    for name in ["model.onnx", "model.toml", "weights.bin"] {
        symlink(Path::new("..data").join(name), volume.path().join(name)).unwrap();
    }
    let source = ModelSource::at(volume.path());
    source.open().unwrap();
    Graph::load(&source).unwrap();
}

#[test]
fn locations_outside_the_folder_are_refused() {
    let absolute = std::env::temp_dir().join("weights.bin");
    for location in ["../weights.bin", "a/../../weights.bin", absolute.to_str().unwrap(), ""] {
        fault(with_external_data(location).path(), "inside the model's folder");
    }
}

#[test]
fn weights_that_are_missing_or_cut_short_are_named() {
    let folder = with_external_data("weights.bin");
    let path = folder.path().join("weights.bin");
    let data = std::fs::read(&path).unwrap();
    std::fs::write(&path, &data[..data.len() - 1]).unwrap();
    fault(folder.path(), "cut short");
    std::fs::write(&path, b"version https://git-lfs.github.com/spec/v1\n").unwrap();
    fault(folder.path(), "Git LFS pointer");
    std::fs::write(&path, b"").unwrap();
    fault(folder.path(), "empty");
    std::fs::remove_file(&path).unwrap();
    fault(folder.path(), "weights.bin");
}
