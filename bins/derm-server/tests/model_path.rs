//! `MODEL_PATH`: what it may name, what stops a start, drafts and comparisons.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{LONG, Server, bundled, output, picture};

/// A folder with the manifest of the bundled model and this as its model.
fn with_model(bytes: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(bundled().join("model.toml"), folder.path().join("model.toml")).unwrap();
    std::fs::write(folder.path().join("model.onnx"), bytes).unwrap();
    folder
}

#[test]
fn a_file_that_is_no_model_ends_check_and_start_with_one_line() {
    let whole = std::fs::read(bundled().join("model.onnx")).unwrap();
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    let cases: [(&[u8], &str); 4] = [
        (b"", "empty"),
        (pointer, "Git LFS pointer"),
        (b"<!DOCTYPE html>", "HTML"),
        (&whole[..whole.len() / 2], "cut short"),
    ];
    for (bytes, expected) in cases {
        let folder = with_model(bytes);
        let path = folder.path().to_str().unwrap();
        for arguments in [&["--check"][..], &[]] {
            let ended =
                output(arguments, &[("MODEL_PATH", path), ("HOST", "127.0.0.1"), ("PORT", "0")]);
            let text = String::from_utf8(ended.stderr).unwrap();
            assert!(!ended.status.success(), "{arguments:?}");
            assert!(text.contains(expected) && text.trim_end().lines().count() == 1, "{text}");
        }
    }
}

#[test]
fn it_names_a_folder_a_model_or_a_manifest() {
    for path in [bundled(), bundled().join("model.onnx"), bundled().join("model.toml")] {
        let checked = output(&["--check"], &[("MODEL_PATH", path.to_str().unwrap())]);
        assert!(checked.status.success(), "{}: {checked:?}", path.display());
    }
}

#[test]
fn a_draft_of_a_manifest_is_printed() {
    let folder = with_model(&std::fs::read(bundled().join("model.onnx")).unwrap());
    std::fs::remove_file(folder.path().join("model.toml")).unwrap();
    let path = folder.path().join("model.onnx").to_str().unwrap().to_owned();
    let ended = output(&["--check"], &[("MODEL_PATH", &path)]);
    assert!(String::from_utf8(ended.stderr).unwrap().contains("--new-manifest"));
    let draft = output(&["--new-manifest", &path], &[]);
    assert!(draft.status.success(), "{draft:?}");
    std::fs::write(folder.path().join("model.toml"), draft.stdout).unwrap();
    let checked = output(&["--check"], &[("MODEL_PATH", &path)]);
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn a_check_compares_with_the_training_codes_probabilities() {
    let server = Server::start(&[]);
    let answer = server.post("/predict/", "Content-Type: image/jpeg\r\n", &picture()).json();
    server.terminate();
    assert!(server.wait(LONG).success());
    let results = answer["results"].as_array().unwrap();
    let names: Vec<&str> = results.iter().map(|result| result["class"].as_str().unwrap()).collect();
    let percents = results.iter().map(|result| result["probability"].as_f64().unwrap());
    let numbers: Vec<String> = percents.map(|percent| (percent / 100.0).to_string()).collect();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("picture.jpg"), picture()).unwrap();
    let file = folder.path().join("expected.csv");
    let text = format!("picture,{}\npicture.jpg,{}\n", names.join(","), numbers.join(","));
    std::fs::write(&file, text).unwrap();
    let compared = output(&["--check", "--against", file.to_str().unwrap()], &[]);
    let text = String::from_utf8(compared.stdout).unwrap();
    assert!(compared.status.success(), "{text}");
    assert!(text.contains("1 pictures, 1 with the same most probable class"), "{text}");
    // Without --check there is nothing to compare with.
    assert!(!output(&["--against", file.to_str().unwrap()], &[]).status.success());
}
