//! Every command of the documents is run, in a folder that looks like the repository and has what the documents name: a
//! picture, a folder of pictures, labels, a model. `documents/` has the programs that commands find there instead of their own:
//! what serves for ever is stopped, what compiles or changes the machine is noted and counted.
//!
//! Commands within the text and in indented blocks have their arguments parsed only. Blocks of JavaScript and Python are run by
//! `derm-server`'s tests `clients` and `own_model` and by the tests of the Python package; here Python is compiled.

#![allow(clippy::unwrap_used, missing_docs, clippy::print_stderr)]

#[path = "documents/pages.rs"]
mod pages;
#[path = "../src/ports.rs"]
mod ports;
#[path = "documents/surroundings.rs"]
mod surroundings;

use pages::{Page, pages};
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use surroundings::Surroundings;

/// Programs that are not run, and why.
const NOT_RUN: [(&str, &str); 13] = [
    (".ci/run", "it runs this test, among others"),
    ("cargo build", "it compiles for minutes; this test needs what it builds"),
    ("cargo test", "this test is one of it"),
    ("deploy/release", "it compiles for minutes"),
    ("docker", "there is no daemon; deploy/check-image runs the image's program"),
    ("fly", "it needs an account"),
    ("fuzz/run", "it searches for minutes: .ci/run fuzz"),
    ("gcloud", "it needs an account"),
    ("kubectl", "it needs a cluster: deploy/check-cluster"),
    ("maturin", "it compiles for minutes: crates/derm-python/check"),
    ("pip", "it downloads: crates/derm-python/check"),
    ("python", "it needs TensorFlow"),
    ("sudo", "it changes the machine: deploy/check-deb installs the package"),
];

#[test]
fn the_commands_of_the_documents_work() {
    let Some(surroundings) = Surroundings::make(&NOT_RUN.map(|(program, _)| program)) else {
        return;
    };
    assert!(
        !surroundings.run("ls", false).status.success(),
        "a program without a reason is refused"
    );
    let mut count = 0;
    for Page { path, blocks, .. } in pages() {
        for block in blocks.iter().filter(|block| block.language == "sh") {
            let output = surroundings.run(&block.source, false);
            let said = String::from_utf8_lossy(&output.stderr);
            let shown = format!("{path}:\n{}{said}", block.source);
            assert!(output.status.success(), "{} of {shown}", output.status);
            let refused = said.contains("status 4") || said.contains("status 5");
            assert_eq!(refused, block.source.contains("# an error"), "{shown}");
            count += 1;
        }
    }
    assert!(count > 30, "{count} blocks");
    let noted = surroundings.noted();
    let known: BTreeSet<String> = NOT_RUN.iter().map(|(program, _)| (*program).into()).collect();
    assert_eq!(
        noted, known,
        "programs that documents name and that are not run, and those with a reason"
    );
    let reasons = NOT_RUN.map(|(program, reason)| format!("{program} ({reason})"));
    eprintln!("SKIPPED: commands of the documents: {}", reasons.join(", "));
}

#[test]
fn commands_within_the_text_have_arguments_that_exist() {
    let Some(surroundings) = Surroundings::make(&[]) else { return };
    let accepts = |command: &str| surroundings.run(command, true);
    for wrong in ["derm predict --nonsense", "cargo xtask memtest --nonsense", "derm nonsense"] {
        assert!(!accepts(wrong).status.success(), "{wrong}");
    }
    let (mut seen, mut wrong) = (BTreeSet::new(), String::new());
    for Page { path, spans, .. } in pages() {
        for span in spans {
            let program = span.split(' ').next().unwrap_or_default();
            let is_command = ["cargo", "derm", "derm-server"].contains(&program);
            if is_command && !span.contains("...") && seen.insert(span.clone()) {
                let output = accepts(&span);
                let said = String::from_utf8_lossy(&output.stderr);
                if !output.status.success() && !is_about_placeholder(&said, &span) {
                    wrong += &format!("{path}: {span}\n{said}\n");
                }
            }
        }
    }
    assert!(seen.len() > 40, "{seen:?}");
    assert!(wrong.is_empty(), "{wrong}");
}

/// Whether an error is about a word such as `SHELL`, in whose place readers put their own.
fn is_about_placeholder(error: &str, command: &str) -> bool {
    let is_placeholder = |word: &&str| word.bytes().all(|byte| byte.is_ascii_uppercase());
    command.split(' ').filter(is_placeholder).any(|word| error.contains(&format!("'{word}'")))
}

#[test]
fn files_and_steps_within_the_text_exist() {
    let root = surroundings::root();
    let ci = std::fs::read_to_string(root.join(".ci/run")).unwrap();
    let steps = ci.lines().find_map(|line| line.strip_prefix("STEPS=(")).unwrap();
    let steps: Vec<&str> = steps.trim_end_matches(')').split(' ').collect();
    let folders = [".ci/", "bins/", "crates/", "deploy/", "docs/", "models/", "xtask/"];
    let (mut count, mut missing) = (0, Vec::new());
    for Page { path, spans, .. } in pages() {
        for span in spans {
            let mut words = span.split(' ');
            let first = words.next().unwrap_or_default().trim_end_matches(',');
            if first == ".ci/run" {
                let is_known = |word: &str| word.starts_with('-') || steps.contains(&word);
                assert!(words.all(is_known), "{path}: {span}: the steps are {steps:?}");
            }
            let is_path = folders.iter().any(|folder| first.starts_with(folder));
            if is_path && !["*", "{", "NAME"].iter().any(|placeholder| first.contains(placeholder))
            {
                count += 1;
                if !root.join(first).exists() {
                    missing.push(format!("{path}: {first}"));
                }
            }
        }
    }
    assert!(count > 30, "{count} paths");
    assert!(missing.is_empty(), "files that do not exist: {missing:#?}");
}

#[test]
fn the_python_of_the_documents_compiles() {
    let compile = "import ast, sys; ast.parse(sys.stdin.read())";
    for Page { path, blocks, .. } in pages() {
        for block in blocks.iter().filter(|block| block.language == "python") {
            let mut python = Command::new("python3");
            let python = python.args(["-c", compile]).stdin(Stdio::piped()).stderr(Stdio::piped());
            let Ok(mut python) = python.spawn() else {
                eprintln!("SKIPPED: Python of the documents: python3 is not installed");
                return;
            };
            python.stdin.take().unwrap().write_all(block.source.as_bytes()).unwrap();
            let output = python.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{path}:\n{}{said}", block.source);
        }
    }
}
