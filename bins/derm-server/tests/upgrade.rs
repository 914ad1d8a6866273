//! Probes, draining, replacing the model, and systemd.

#![allow(clippy::unwrap_used, missing_docs, clippy::print_stderr)]

mod common;

use common::{FORM, LONG, Server, bundled, form, picture, read_answer};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ADMIN_KEY: &str = "an-admin-key-of-length";

fn body() -> Vec<u8> {
    form(&[("image", true, &picture()), ("gradcam", false, b"false")])
}

fn until_ready(server: &Server) {
    let start = Instant::now();
    while server.get("/readyz").status != 200 {
        assert!(start.elapsed() < LONG, "{}", server.get("/readyz").text());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The bundled model in a folder, under this name.
fn model(folder: &Path, name: &str) {
    let manifest = std::fs::read_to_string(bundled().join("model.toml")).unwrap();
    let manifest = manifest.replacen("derm-lite0", name, 1);
    // As an operator does: each file is replaced, none is written in place.
    std::fs::copy(bundled().join("model.onnx"), folder.join("next.onnx")).unwrap();
    std::fs::write(folder.join("next.toml"), manifest).unwrap();
    std::fs::rename(folder.join("next.onnx"), folder.join("model.onnx")).unwrap();
    std::fs::rename(folder.join("next.toml"), folder.join("model.toml")).unwrap();
}

#[test]
fn ready_when_the_model_was_checked_also_when_it_is_unloaded_since() {
    let server = Server::start(&[("MODEL_IDLE_SECONDS", "1")]);
    assert_eq!((server.get("/livez").status, server.get("/livez/").text()), (200, "ok".to_owned()));
    let first = server.get("/readyz");
    assert_eq!(first.status, 503);
    assert!(first.error().contains("not been checked yet"), "{}", first.error());
    until_ready(&server);
    assert_eq!(server.memory()["model_loads"], 1);
    server.until("model_loaded", |loaded| *loaded == false);
    assert_eq!(server.get("/readyz").status, 200);
}

#[test]
fn a_model_that_cannot_be_used_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path(), "broken");
    // The graph has a class more, which only loading it tells.
    let manifest = folder.path().join("model.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, &text[..text.rfind("[[classes]]").unwrap()]).unwrap();
    let path = folder.path().to_str().unwrap();
    let server = Server::start(&[("MODEL_PATH", path)]);
    for _ in 0..5 {
        assert_eq!(server.get("/readyz").status, 503);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((server.get("/livez").status, server.get("/health/").status), (200, 200));
    let ended = common::output(&[], &[("MODEL_PATH", path), ("PRELOAD", "true"), ("PORT", "0")]);
    assert!(!ended.status.success(), "PRELOAD stops the start");
    assert!(String::from_utf8(ended.stderr).unwrap().contains("PRELOAD"));
}

#[test]
fn preload_is_over_before_the_port_opens() {
    let server = Server::start(&[("PRELOAD", "true")]);
    assert_eq!(server.get("/readyz").status, 200);
    let memory = server.memory();
    assert_eq!((&memory["model_loads"], &memory["model_loaded"]), (&1.into(), &true.into()));
    assert!(memory["budget"]["weights_mb"].as_f64().unwrap() > 1.0);
}

#[test]
fn a_draining_server_answers_and_lets_its_connections_go() {
    let server = Server::start(&[("PRELOAD", "true"), ("DRAIN_SECONDS", "3600")]);
    let get = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut kept = server.connect();
    kept.write_all(get).unwrap();
    assert_eq!(read_answer(&mut kept).header("Connection"), None);
    server.terminate();
    let start = Instant::now();
    while server.get("/readyz").status == 200 {
        assert!(start.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(server.get("/readyz").error().contains("about to stop"));
    kept.write_all(get).unwrap();
    let answer = read_answer(&mut kept);
    assert_eq!((answer.status, answer.header("Connection")), (200, Some("close")));
    let answer = server.post("/predict/", FORM, &body());
    assert_eq!(answer.status, 200, "new connections are taken: {}", answer.text());
    // A second one ends the draining.
    server.terminate();
    assert!(server.wait(LONG).success());
}

#[test]
fn a_new_model_is_served_whole_after_a_reload_and_a_bad_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path(), "first");
    let server = Server::start(&[
        ("MODEL_PATH", folder.path().to_str().unwrap()),
        ("ADMIN_KEY", ADMIN_KEY),
        ("MAX_REQUESTS", "0"),
    ]);
    let reload = |headers: &str| server.post("/admin/reload", headers, b"");
    let name = || server.post("/predict/", FORM, &body()).json()["model"]["name"].clone();
    let key = format!("Authorization: Bearer {ADMIN_KEY}\r\n");
    assert_eq!(name(), "first");
    model(folder.path(), "second");
    assert_eq!(name(), "first", "nobody asked for it");
    for headers in ["", "Authorization: Bearer an-admin-key-of-lengtH\r\n"] {
        assert_eq!(reload(headers).status, 401);
    }
    assert_eq!(name(), "first");
    let answer = reload(&key);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.json()["digest"].is_string());
    assert_eq!(name(), "second");

    std::fs::remove_file(folder.path().join("model.onnx")).unwrap();
    std::fs::write(folder.path().join("model.onnx"), b"no graph").unwrap();
    let answer = reload(&key);
    assert_eq!(answer.status, 500, "{}", answer.text());
    assert_eq!(name(), "second", "the old one stays");
    assert_eq!(server.memory()["budget"]["reserved_mb"], 0.0);
}

#[test]
fn without_an_admin_key_there_is_no_reload_over_http() {
    let server = Server::start(&[]);
    assert_eq!(server.post("/admin/reload", "Authorization: Bearer \r\n", b"").status, 404);
    assert_eq!(server.get("/admin/reload").status, 404);
}

/// Reloads under load: each answer is of one model, whose digest and name belong together.
#[test]
fn no_answer_mixes_two_models() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path(), "model-0");
    let path = folder.path().to_str().unwrap();
    // Beside each other, and one after the other where the budget has room for one only.
    for budget in ["256", "40"] {
        let server = Server::start(&[
            ("MODEL_PATH", path),
            ("MAX_REQUESTS", "0"),
            ("MEMORY_BUDGET_MB", budget),
            ("PRELOAD", "true"),
        ]);
        let loads = || server.memory()["model_loads"].as_u64().unwrap();
        let pairs = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| (0..20).map(|_| ask(&server)).collect::<Vec<_>>()))
                .collect();
            for number in 1..=4 {
                let before = loads();
                model(folder.path(), &format!("model-{}", number % 2));
                let hangup =
                    Command::new("kill").args(["-HUP", &server.pid().to_string()]).status();
                assert!(hangup.unwrap().success());
                let start = Instant::now();
                while loads() == before {
                    assert!(start.elapsed() < LONG, "no reload with {budget} MiB");
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
        });
        let mut distinct = pairs.clone();
        distinct.sort();
        distinct.dedup();
        let names: Vec<_> = distinct.iter().map(|(name, _)| name.clone()).collect();
        assert!(names.windows(2).all(|two| two[0] != two[1]), "one digest a name: {distinct:?}");
        assert_eq!(pairs.len(), 60);
    }
}

/// Name and digest of the model that answers.
fn ask(server: &Server) -> (String, String) {
    let answer = server.post("/predict/", FORM, &body());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = |name: &str| answer.json()["model"][name].as_str().unwrap().to_owned();
    (text("name"), text("digest"))
}

#[test]
fn systemd_is_told_and_its_socket_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // The shell gives the socket the number that systemd gives it, and itself the server's id.
    let script = "exec 3<&0; export LISTEN_PID=$$ LISTEN_FDS=1 WATCHDOG_PID=$$; exec \"$0\"";
    let inherited = OwnedFd::from(listener.try_clone().unwrap());
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", script]).arg(env!("CARGO_BIN_EXE_derm-server"));
    let mut child = shell
        .env_clear()
        .envs([("PORT", "1"), ("RUST_LOG", "error"), ("WATCHDOG_USEC", "300000")])
        .env("NOTIFY_SOCKET", folder.path().join("notify"))
        .env("EXIT_IDLE_SECONDS", "2")
        .stdin(Stdio::from(inherited))
        .spawn()
        .unwrap();
    let mut message = [0; 100];
    let mut next = || {
        let length = socket.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).trim().to_owned()
    };
    assert_eq!(next(), "READY=1");
    assert_eq!(next(), "WATCHDOG=1");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut stream).status, 200);
    drop(stream);
    // Nobody is connected any more.
    while next() != "STOPPING=1" {}
    assert!(child.wait().unwrap().success());
}
