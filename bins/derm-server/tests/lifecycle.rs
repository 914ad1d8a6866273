//! Starting, loading, waiting, reloading, unloading and stopping.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{
    Answer, FORM, LONG, Server, SlowModel, form, output, picture, post_bytes, read_answer,
};
use std::io::Write;
use std::net::TcpStream;
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
    assert_eq!(server.memory()["model_loads"], 1);
    server.until("model_loaded", |loaded| *loaded == false);
    assert_eq!(server.post("/predict/", FORM, &body).status, 200);
    assert_eq!(server.memory()["model_loads"], 2);
}

/// A prediction without a heatmap, sent but not answered.
fn send(server: &Server) -> TcpStream {
    let body = form(&[("image", true, &picture()), ("gradcam", false, b"false")]);
    let mut stream = server.connect();
    stream.write_all(&post_bytes("/predict/", FORM, &body)).unwrap();
    stream
}

#[test]
fn who_waits_too_long_is_told_to_come_back() {
    let (model, server) = SlowModel::serve(&[("THREADS", "1"), ("TIMEOUT", "1")]);
    // One of them begins to load the model, and is finished however long that takes. All others wait.
    let (sender, answers) = std::sync::mpsc::channel();
    for _ in 0..21 {
        let (mut stream, sender) = (send(&server), sender.clone());
        std::thread::spawn(move || sender.send(read_answer(&mut stream)));
    }
    let refused: Vec<Answer> = answers.iter().take(20).collect();
    let mut waited = 0;
    for answer in refused {
        assert_eq!(answer.status, 503, "{}", answer.text());
        // On a slow machine, one may have begun and not have decoded its picture within the second.
        if !answer.error().contains("decoding") {
            assert_eq!(answer.header("Retry-After"), Some("5"));
            assert!(answer.error().contains("try again"));
            waited += 1;
        }
    }
    assert!(waited > 0);
    model.let_load();
    let mut last = answers.recv().unwrap();
    // On a slow machine, none may have begun to load within the second.
    let start = Instant::now();
    while last.status == 503 && start.elapsed() < LONG {
        last = read_answer(&mut send(&server));
    }
    assert_eq!(last.status, 200, "{}", last.text());
}

#[test]
fn a_client_that_leaves_frees_its_place() {
    let (model, server) = SlowModel::serve(&[("THREADS", "1"), ("MAX_REQUESTS", "0")]);
    let mut first = send(&server);
    server.until("running", |running| *running == 1);
    let others: Vec<TcpStream> = (0..60).map(|_| send(&server)).collect();
    server.until("waiting", |waiting| *waiting == 60);
    drop(others);
    server.until("waiting", |waiting| *waiting == 0);
    model.let_load();
    assert_eq!(read_answer(&mut first).status, 200);
    assert_eq!(read_answer(&mut send(&server)).status, 200);
    assert_eq!(server.memory()["predictions"], 2, "none of those who left was run");
}

/// Asks for an explanation whose method has a plan of its own; returns when it runs.
fn explain_by_own_plan(server: &Server) -> TcpStream {
    let body = form(&[("image", true, &picture()), ("method", false, b"saliency")]);
    let mut stream = server.connect();
    stream.write_all(&post_bytes("/predict/", FORM, &body)).unwrap();
    server.until("running", |running| *running == 1);
    stream
}

#[test]
fn the_server_answers_while_a_plan_is_being_built() {
    let (model, server) = SlowModel::serve(&[("MAX_REQUESTS", "0")]);
    model.let_load();
    assert_eq!(read_answer(&mut send(&server)).status, 200);
    // This method has a plan of its own, for which the manifest is read once more.
    let mut explained = explain_by_own_plan(&server);
    // It runs alone, since what its plan takes is not known yet; the event loop does not wait.
    let mut next = send(&server);
    server.until("waiting", |waiting| *waiting == 1);
    assert_eq!(server.get("/health/").status, 200);
    model.let_load();
    let answer = read_answer(&mut explained);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.json()["heatmap"].is_string());
    assert_eq!(read_answer(&mut next).status, 200);
}

#[test]
fn a_layer_that_does_not_exist_is_refused_without_memory() {
    let (model, server) = SlowModel::serve(&[("MAX_REQUESTS", "0")]);
    model.let_load();
    assert_eq!(read_answer(&mut send(&server)).status, 200);
    // Holds all memory, since what its plan takes is not known yet.
    let mut explained = explain_by_own_plan(&server);
    let body = form(&[("image", true, &picture())]);
    for layer in ["nowhere", "100000"] {
        let refused = server.post(&format!("/predict/?layer={layer}"), FORM, &body);
        assert_eq!(refused.status, 422, "{}", refused.text());
        assert!(refused.error().contains(layer), "{}", refused.error());
    }
    model.let_load();
    assert_eq!(read_answer(&mut explained).status, 200);
}

#[test]
fn sigterm_finishes_what_runs() {
    let (model, server) = SlowModel::serve(&[]);
    let mut stream = send(&server);
    server.until("running", |running| *running == 1);
    server.terminate();
    model.let_load();
    assert_eq!(read_answer(&mut stream).status, 200);
    drop(stream);
    assert!(server.wait(LONG).success());
}

#[test]
fn check_help_and_version() {
    let checked = output(&["--check"], &[]);
    let text = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success());
    assert!(text.contains("derm-lite0") && text.contains("7 classes"), "{text}");
    for option in ["--help", "--man"] {
        let text = String::from_utf8(output(&[option], &[]).stdout).unwrap();
        assert!(
            text.contains("MODEL_PATH") && text.contains("seconds without a request"),
            "{text}"
        );
    }
    for option in ["--version", "-V"] {
        let text = String::from_utf8(output(&[option], &[]).stdout).unwrap();
        for part in ["derm-server ", "derm-lite0", "license: CC BY-NC 4.0"] {
            assert!(text.contains(part), "{text}");
        }
    }
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

/// The time from SIGTERM to the end of the process, with requests that never end by themselves.
fn stop(server: Server, mut requests: Vec<TcpStream>) {
    let start = Instant::now();
    server.terminate();
    for stream in &mut requests {
        let answer = read_answer(stream);
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.error().contains("shutting down"), "{}", answer.text());
        assert_eq!(answer.header("Retry-After"), Some("5"));
    }
    assert!(server.wait(LONG).success());
    // Five seconds are configured, and half a minute or no end is the fault.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn stalled_uploads_do_not_hold_up_the_end() {
    let server = Server::start(&[("SHUTDOWN_SECONDS", "3"), ("UPLOAD_SECONDS", "300")]);
    let head = "POST /predict/ HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n\
                Content-Length: 4000\r\n\r\nab";
    let mut stalled: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for stream in &mut stalled {
        stream.write_all(head.as_bytes()).unwrap();
    }
    // They have arrived.
    assert_eq!(server.get("/health/").status, 200);
    stop(server, stalled);
}

/// One loads the model for ever; the others wait.
#[test]
fn requests_that_load_or_wait_do_not_hold_up_the_end() {
    let (_model, server) = SlowModel::serve(&[("THREADS", "1"), ("SHUTDOWN_SECONDS", "3")]);
    let mut requests = vec![send(&server)];
    server.until("running", |running| *running == 1);
    requests.extend((0..5).map(|_| send(&server)));
    server.until("waiting", |waiting| *waiting == 5);
    stop(server, requests);
}

/// An explanation of many classes by Score-CAM takes minutes.
#[test]
fn a_long_explanation_does_not_hold_up_the_end() {
    let server = Server::start(&[("SHUTDOWN_SECONDS", "3"), ("MAX_REQUESTS", "0")]);
    let body = form(&[
        ("image", true, &picture()),
        ("method", false, b"scorecam"),
        ("smooth", false, b"8"),
        ("tta", false, b"8"),
    ]);
    let mut stream = server.connect();
    stream.write_all(&post_bytes("/predict/", FORM, &body)).unwrap();
    server.until("running", |running| *running == 1);
    stop(server, vec![stream]);
}

#[test]
fn what_ends_in_time_is_answered_after_sigterm() {
    let (model, server) = SlowModel::serve(&[("SHUTDOWN_SECONDS", "300")]);
    let mut stream = send(&server);
    server.until("running", |running| *running == 1);
    server.terminate();
    model.let_load();
    assert_eq!(read_answer(&mut stream).status, 200);
    assert!(server.wait(LONG).success());
}
