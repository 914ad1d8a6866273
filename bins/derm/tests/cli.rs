//! The command-line tool as its users call it.

#![allow(clippy::unwrap_used)]
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../derm-server/src/page/example.jpg");

fn derm(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_derm")).current_dir(folder).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A folder with two good pictures, one in a subfolder, and a broken one.
fn pictures() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("inner")).unwrap();
    for name in ["a.jpg", "inner/c.jpg"] {
        std::fs::copy(EXAMPLE, folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("b.jpg"), b"no picture").unwrap();
    folder
}

#[test]
fn a_folder_is_classified_in_order_and_what_cannot_be_read_is_named() {
    let folder = pictures();
    let output = derm(folder.path(), &["predict", ".", "--csv"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let mut reader = csv::Reader::from_reader(&output.stdout[..]);
    let header = reader.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let names: Vec<&str> = rows.iter().map(|row| &row[0]).collect();
    assert_eq!(names, ["./a.jpg", "./b.jpg", "./inner/c.jpg"]);
    let column = |name: &str| header.iter().position(|column| column == name).unwrap();
    assert!(rows[1][column("error")].contains("not a picture"), "{:?}", rows[1]);
    assert!(rows[0].iter().skip(1).eq(rows[2].iter().skip(1)), "the same picture");
    let sum: f64 =
        (header.len() - 7..header.len()).map(|i| rows[0][i].parse::<f64>().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "seven classes: {sum}");
    let best = column(&rows[0][column("class")]);
    assert_eq!(rows[0][best], rows[0][column("probability")]);
    assert!(text(&output.stderr).contains("b.jpg") && text(&output.stderr).contains("1 could not"));

    let lines = derm(folder.path(), &["predict", "inner", "--jsonl", "--quiet"]);
    assert_eq!((lines.status.code(), text(&lines.stderr)), (Some(0), ""));
    let record: serde_json::Value = serde_json::from_slice(&lines.stdout).unwrap();
    assert_eq!(record["results"][0]["class"], rows[0][column("class")]);
    assert_eq!(record["decision"], rows[0][column("decision")]);
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let folder = pictures();
    std::fs::write(folder.path().join("labels.csv"), "image_id,dx\na,nv\n").unwrap();
    for arguments in [
        "check",
        "check --json",
        "profile --runs 1",
        "predict a.jpg",
        "predict a.jpg --csv",
        "explain a.jpg -o heatmaps",
        "completions bash",
        "evaluate --data . --labels labels.csv",
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_derm"));
        command.current_dir(folder.path()).args(arguments.split(' ')).stdout(writer);
        let output = command.output().unwrap();
        let errors = text(&output.stderr);
        assert!(output.status.success() && !errors.contains("panicked"), "{arguments}: {errors}");
    }
}

#[test]
fn the_model_of_8_bits_answers_as_the_bundled_one() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/derm-lite0/int8");
    let folder = tempfile::tempdir().unwrap();
    let probabilities = |arguments: &[&str]| {
        let output = derm(folder.path(), &[&["predict", EXAMPLE, "--csv"], arguments].concat());
        assert!(output.status.success(), "{output:?}");
        let mut reader = csv::Reader::from_reader(&output.stdout[..]);
        let row = reader.records().next().unwrap().unwrap();
        let all: Vec<f64> =
            row.iter().skip(row.len() - 7).map(|cell| cell.parse().unwrap()).collect();
        all
    };
    let (float, int8) = (probabilities(&[]), probabilities(&["--model", model]));
    assert_ne!(float, int8, "two models");
    for (float, int8) in float.iter().zip(&int8) {
        assert!((float - int8).abs() < 0.02, "{int8} instead of {float}");
    }
}

#[test]
fn an_interrupted_run_goes_on_where_its_file_ends() {
    let folder = pictures();
    let whole = ["predict", "a.jpg", "inner", "--csv", "-o", "out.csv", "--quiet"];
    assert!(derm(folder.path(), &whole).status.success());
    let file = folder.path().join("out.csv");
    let complete = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, &complete[..complete.len() - 20]).unwrap();
    let output = derm(folder.path(), &[&whole[..], &["--resume"]].concat());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), complete);
}

#[test]
fn a_picture_on_standard_input_and_a_reader_that_leaves() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_derm"))
        .args(["predict", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&std::fs::read(EXAMPLE).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).contains(" %  "), "{output:?}");
    assert!(text(&output.stderr).contains("never for a diagnosis"));

    let mut child = Command::new(env!("CARGO_BIN_EXE_derm"))
        .args(["predict", EXAMPLE])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(!text(&output.stderr).contains("panicked"), "{output:?}");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn heatmaps_of_one_picture_and_of_a_folder() {
    let folder = pictures();
    let one = derm(folder.path(), &["explain", "a.jpg", "-o", "map.png"]);
    assert!(one.status.success(), "{one:?}");
    let map = image::open(folder.path().join("map.png")).unwrap();
    assert_eq!((map.width(), map.height()), (224, 224));

    let sheet = ["explain", "a.jpg", "--method", "gradcam,layercam", "--class", "mel,nv"];
    assert!(derm(folder.path(), &[&sheet[..], &["-o", "sheet.png"]].concat()).status.success());
    let sheet = image::open(folder.path().join("sheet.png")).unwrap();
    assert!(sheet.width() > 448 && sheet.height() > 448, "four tiles");

    let many = derm(folder.path(), &["explain", ".", "-o", "maps"]);
    assert_eq!(many.status.code(), Some(1), "one cannot be read: {many:?}");
    assert!(folder.path().join("maps/a.jpg.png").exists());
    assert!(folder.path().join("maps/inner/c.jpg.png").exists());
}

#[test]
fn mistakes_are_one_line_and_status_2() {
    let folder = pictures();
    for arguments in [
        &["predict", "a.jpg", "--model", "nowhere"][..],
        &["explain", "a.jpg", "--class", "unknown"],
        &["explain", "a.jpg", "--method", "unknown"],
        &["check", "nowhere.onnx"],
        &["predict", "a.jpg", "--tta", "99"],
    ] {
        let output = derm(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let error = text(&output.stderr);
        assert!(error.starts_with("derm: ") && error.lines().count() == 1, "{error}");
    }
}

#[test]
fn a_model_is_described_for_people_and_programs() {
    let folder = pictures();
    let output = derm(folder.path(), &["check", "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["name"], &found["input"][0]), (&"derm-lite0".into(), &224.into()));
    assert!(found["layers"].as_u64() > Some(1) && found["unexplained"].is_null(), "{found}");
    let native = found["native_operators"].as_array().unwrap();
    assert!(native.len() > 2 && found["unverified_operators"] == serde_json::json!([]), "{found}");
    let shown = derm(folder.path(), &["check"]);
    assert!(text(&shown.stdout).contains("derm-lite0"));
    assert!(text(&shown.stdout).contains("operators   native "), "{shown:?}");
}

#[test]
fn a_check_compares_with_given_probabilities() {
    let folder = pictures();
    let lines = derm(folder.path(), &["predict", "a.jpg", "--csv", "--quiet"]);
    let mut reader = csv::Reader::from_reader(&lines.stdout[..]);
    let header = reader.headers().unwrap().clone();
    let row = reader.records().next().unwrap().unwrap();
    let classes = header.iter().skip(header.len() - 7).collect::<Vec<_>>().join(",");
    let right: Vec<&str> = row.iter().skip(header.len() - 7).collect();
    let compare = |probabilities: &[&str]| {
        let reference = format!("picture,{classes}\na.jpg,{}\n", probabilities.join(","));
        std::fs::write(folder.path().join("expected.csv"), reference).unwrap();
        derm(folder.path(), &["check", "--against", "expected.csv"])
    };
    let agreed = compare(&right);
    assert!(agreed.status.success(), "{agreed:?}");
    assert!(text(&agreed.stdout).contains("1 pictures, 1 with the same"), "{agreed:?}");
    let mut wrong = right.clone();
    wrong.rotate_left(3);
    let differing = compare(&wrong);
    assert_eq!(differing.status.code(), Some(2));
    assert!(text(&differing.stderr).starts_with("derm: the probabilities differ"), "{differing:?}");
}

#[test]
fn a_manifest_is_drafted_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.onnx"), derm_lite0::MODEL).unwrap();
    let shown = derm(folder.path(), &["manifest", "model.onnx"]);
    assert!(text(&shown.stdout).contains("CHECK"), "{shown:?}");
    let write = || derm(folder.path(), &["manifest", "model.onnx", "-o", "model.toml"]);
    assert!(write().status.success());
    let written = std::fs::read(folder.path().join("model.toml")).unwrap();
    assert_eq!(written, shown.stdout);
    assert_eq!(write().status.code(), Some(2));
}

#[test]
fn completions_and_man_pages_are_written() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        assert!(text(&derm(folder.path(), &["completions", shell]).stdout).contains("predict"));
    }
    assert!(derm(folder.path(), &["man", "man1"]).status.success());
    let page = std::fs::read_to_string(folder.path().join("man1/derm-predict.1")).unwrap();
    assert!(page.contains("Classify pictures"));
}

/// Nothing is written where 8 bits are asked for and cannot be had.
#[test]
fn quantising_needs_pictures_a_share_and_the_models_own_manifest() {
    let folder = pictures();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let lite0 = format!("{root}/models/derm-lite0");
    let other = format!("{root}/models/zoo/operators/average_pool.onnx");
    let manifest = format!("{lite0}/model.toml");
    let refused = |arguments: &[&str], named: &str| {
        let output =
            derm(folder.path(), &[&["quantize", "--int8", "-o", "out.onnx"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).contains(named), "{}", text(&output.stderr));
        assert!(!folder.path().join("out.onnx").exists());
    };
    refused(&[&lite0], "--images");
    refused(&[&lite0, "--images", ".", "--max-drop", "2"], "--max-drop");
    refused(&[&lite0, "--images", ".", "--pictures", "0"], "--pictures");
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    refused(&[&lite0, "--images", "empty"], "no picture");
    refused(&[&other, "--images", "a.jpg", "--manifest", &manifest], "disagrees with its manifest");
}
