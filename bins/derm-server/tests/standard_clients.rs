//! Clients of Triton and KServe, as PyPI has them, against the real server.

#![allow(clippy::unwrap_used, missing_docs, clippy::print_stderr)]

mod common;

use common::{Server, picture, python_with};
use std::process::Command;

#[test]
fn tritonclient() {
    run("tritonclient", "import numpy, tritonclient.http");
}

#[test]
fn kserve() {
    run("kserve", "import numpy, kserve");
}

/// Runs `standard_clients.py` with this client.
fn run(client: &str, packages: &str) {
    let Some(python) = python_with(packages) else {
        eprintln!("SKIPPED: {client}: DERM_PYTHON names no Python that can `{packages}`");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("picture.jpg");
    std::fs::write(&file, picture()).unwrap();
    let server = Server::start(&[("PRELOAD", "true")]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/standard_clients.py");
    let mut command = Command::new(python);
    let done = command.arg(script).arg(server.port.to_string()).arg(file).arg(client);
    let done = done.output().unwrap();
    let text = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && done.stdout.ends_with(b"ok\n"), "{text}");
}
