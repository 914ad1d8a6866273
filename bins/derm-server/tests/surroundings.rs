//! Failing surroundings: whatever becomes of stderr, the environment, `/proc` or the limits of the
//! process, requests are answered.

#![allow(clippy::unwrap_used, missing_docs)]
#![cfg(unix)]

mod common;

use common::{FORM, LONG, Server, command, form, free_port, picture};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Logs a line for each request.
const VERBOSE: [(&str, &str); 2] = [("RUST_LOG", "info"), ("MAX_REQUESTS", "0")];

fn predicts(server: &Server) {
    let body = form(&[("image", true, &picture()), ("gradcam", false, b"false")]);
    let answer = server.post("/predict/", FORM, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Every kind of request is answered, and lost lines are counted.
fn goes_on_without_its_log(server: &Server) {
    for _ in 0..20 {
        assert_eq!(server.get("/health/").text(), "ok");
    }
    predicts(server);
    server.until("log_lines_lost", |lost| lost.as_u64().unwrap() > 0);
    predicts(server);
}

#[test]
fn the_reader_of_stderr_is_gone() {
    let server = Server::start_with(&VERBOSE, |command| {
        command.stderr(Stdio::piped());
    });
    drop(server.stderr());
    goes_on_without_its_log(&server);
}

#[test]
fn the_disk_is_full() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let server = Server::start_with(&VERBOSE, |command| {
        command.stderr(full);
    });
    goes_on_without_its_log(&server);
}

#[test]
fn nobody_reads_stderr() {
    let server = Server::start_with(&VERBOSE, |command| {
        command.stderr(Stdio::piped());
    });
    let stderr = server.stderr();
    // More than a pipe (64 KiB) and the queue (256 KiB) hold.
    let path = format!("/{}", "x".repeat(4000));
    for _ in 0..120 {
        assert_eq!(server.get(&path).status, 404);
    }
    goes_on_without_its_log(&server);
    // It still stops, and what is read at last are whole lines.
    server.terminate();
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(stderr).lines();
        lines.map(|line| line.unwrap()).collect::<Vec<_>>()
    });
    assert!(server.wait(LONG).success());
    let lines = reader.join().unwrap();
    let (last, whole) = lines.split_last().unwrap();
    let is_line = |line: &String| serde_json::from_str::<serde_json::Value>(line).is_ok();
    assert!(whole.len() > 10 && whole.iter().all(is_line), "{last}");
}

/// `RLIMIT_FSIZE`: a log in a file reaches its limit.
#[test]
fn no_file_may_grow() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let port = free_port().to_string();
    let environment = [("HOST", "127.0.0.1"), ("PORT", &port), ("RUST_LOG", "info")];
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -f 0; exec \"$0\" 2>\"$1\"", env!("CARGO_BIN_EXE_derm-server")])
        .arg(&log)
        .env_clear()
        .envs(environment)
        .spawn()
        .unwrap();
    let server = Server::attach(child.id(), port.parse().unwrap());
    goes_on_without_its_log(&server);
    assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
    child.kill().unwrap();
    child.wait().unwrap();
}
