//! Starting, loading, waiting, reloading, unloading and stopping.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{FORM, Server, form, output, picture, post_bytes, read_answer};
use std::io::Write;
use std::time::{Duration, Instant};

#[test]
fn a_hundred_first_requests_load_once_and_all_are_answered() {
    let server = Server::start(&[("MAX_REQUESTS", "0")]);
    let body = form(&[("image", true, &picture()), ("gradcam", false, b"false")]);
    let results: Vec<serde_json::Value> = std::thread::scope(|scope| {
        let ask = || {
            let answer = server.post("/predict/", FORM, &body);
            assert_eq!(answer.status, 200, "{}", answer.text());
            answer.json()["results"].clone()
        };
        let handles: Vec<_> = (0..100).map(|_| scope.spawn(ask)).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    assert!(results.iter().all(|result| *result == results[0]));
    let memory = server.memory();
    assert_eq!((&memory["model_loads"], &memory["predictions"]), (&1.into(), &100.into()));
    assert_eq!((&memory["waiting"], &memory["running"]), (&0.into(), &0.into()));
}

#[test]
fn it_reloads_after_max_requests_without_refusing_anyone() {
    let server = Server::start(&[("MAX_REQUESTS", "10"), ("MAX_REQUESTS_JITTER", "2")]);
    let body = form(&[("image", true, &picture()), ("gradcam", false, b"false")]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..15 {
                    assert_eq!(server.post("/predict/", FORM, &body).status, 200);
                }
            });
        }
    });
    let loads = server.memory()["model_loads"].as_u64().unwrap();
    assert!((5..=8).contains(&loads), "60 predictions, a load every 8 to 12: {loads}");
}

#[test]
fn an_idle_model_is_unloaded_and_comes_back() {
    let server = Server::start(&[("MODEL_IDLE_SECONDS", "1")]);
    let body = form(&[("image", true, &picture())]);
    assert_eq!(server.post("/predict/", FORM, &body).status, 200);
    assert_eq!(server.memory()["model_loaded"], true);
    let start = Instant::now();
    while server.memory()["model_loaded"] == true {
        assert!(start.elapsed() < Duration::from_secs(10), "still loaded");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(server.post("/predict/", FORM, &body).status, 200);
    assert_eq!(server.memory()["model_loads"], 2);
}

#[test]
fn who_waits_too_long_is_told_to_come_back() {
    // One inference at a time and one second for each request: a crowd cannot all be served.
    let server = Server::start(&[("THREADS", "1"), ("TIMEOUT", "1"), ("MAX_REQUESTS", "1")]);
    let body = form(&[("image", true, &picture())]);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let ask = || server.post("/predict/", FORM, &body);
        let handles: Vec<_> = (0..80).map(|_| scope.spawn(ask)).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    let busy: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(answers.iter().all(|answer| [200, 503].contains(&answer.status)));
    assert!(!busy.is_empty() && busy.len() < 80, "{} of 80", busy.len());
    assert!(busy.iter().all(|answer| answer.header("Retry-After") == Some("5")));
    assert!(busy[0].error().contains("try again"));
}

#[test]
fn a_client_that_leaves_frees_its_place() {
    let server = Server::start(&[("THREADS", "1"), ("MAX_REQUESTS", "0")]);
    let body = form(&[("image", true, &picture())]);
    let request = post_bytes("/predict/", FORM, &body);
    for _ in 0..60 {
        let mut stream = server.connect();
        stream.write_all(&request).unwrap();
        drop(stream);
    }
    let start = Instant::now();
    assert_eq!(server.post("/predict/", FORM, &body).status, 200);
    let memory = server.memory();
    assert_eq!(memory["waiting"], 0);
    let predictions = memory["predictions"].as_u64().unwrap();
    assert!(predictions < 30, "{predictions} of 60 were run in {:?}", start.elapsed());
}

#[test]
fn sigterm_finishes_what_runs() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    let body = form(&[("image", true, &picture())]);
    stream.write_all(&post_bytes("/predict/", FORM, &body)).unwrap();
    let start = Instant::now();
    while server.memory()["running"] == 0 && server.memory()["predictions"] == 0 {
        assert!(start.elapsed() < Duration::from_secs(10));
    }
    server.terminate();
    assert_eq!(read_answer(&mut stream).status, 200);
    drop(stream);
    assert!(server.wait(Duration::from_secs(30)).success());
}

#[test]
fn check_help_and_version() {
    let checked = output(&["--check"], &[]);
    let text = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success());
    assert!(text.contains("derm-lite0") && text.contains("7 classes"), "{text}");
    assert!(String::from_utf8(output(&["--help"], &[]).stdout).unwrap().contains("MODEL_PATH"));
    assert!(output(&["--version"], &[]).status.success());
}

#[test]
fn a_bad_start_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.toml"), "name = 5").unwrap();
    let folder = folder.path().to_str().unwrap().to_owned();
    for (name, value) in [
        ("PORT", "seventy"),
        ("ENABLE_GRADCAM", "perhaps"),
        ("MODEL_PATH", "/no/such/model"),
        ("MODEL_PATH", &folder),
        ("HOST", "256.1.1.1"),
        ("RUST_LOG", "derm=loud"),
    ] {
        let ended = output(&[], &[(name, value)]);
        let text = String::from_utf8(ended.stderr).unwrap();
        assert!(!ended.status.success());
        assert!(text.contains(name), "{name}={value}: {text}");
    }
}
