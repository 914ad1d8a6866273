//! HTTP as proxies, monitors and simple clients speak it.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Answer, FORM, Server, SlowModel, form, picture, post_bytes, read_answer};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

const QUICK: [(&str, &str); 2] = [("ENABLE_GRADCAM", "false"), ("MAX_REQUESTS", "0")];

/// All bytes until the server closes.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn head_is_get_without_the_body() {
    let server = Server::start(&QUICK);
    for path in [
        "/",
        "/health",
        "/health/",
        "/memory/",
        "/model/",
        "/style.css",
        "/app.js",
        "/example.jpg",
        "/nowhere",
    ] {
        let get = server.get(path);
        let mut stream = server.connect();
        let head = format!("HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let answer = rest(&mut stream);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {}", get.status)), "{path}: {head}");
        assert_eq!(body, "", "{path}");
        let answer = Answer { status: get.status, head: head.to_owned(), body: Vec::new() };
        assert_eq!(answer.header("content-type"), get.header("content-type"), "{path}");
        // The numbers of /memory/ change.
        if path != "/memory/" {
            assert_eq!(answer.header("content-length"), get.header("content-length"), "{path}");
        }
    }
    let refused = server.post("/health/", "", b"");
    assert_eq!((refused.status, refused.header("Allow")), (405, Some("GET, HEAD")));
    let mut stream = server.connect();
    stream.write_all(b"HEAD /predict/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let refused = rest(&mut stream);
    assert!(refused.starts_with("HTTP/1.1 405") && refused.contains("allow: POST"), "{refused}");
}

#[test]
fn an_idle_connection_stays_open_as_long_as_it_is_configured() {
    let health = b"GET /health/ HTTP/1.1\r\nHost: x\r\n\r\n";
    let idle_until_closed = |seconds: &str| {
        let server = Server::start(&[("KEEP_ALIVE_SECONDS", seconds)]);
        let mut stream = server.connect();
        stream.write_all(health).unwrap();
        assert_eq!(read_answer(&mut stream).status, 200);
        let idle = Instant::now();
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
        idle.elapsed()
    };
    assert!(idle_until_closed("2") >= Duration::from_secs(1));
    idle_until_closed("0");
    // By default longer than any proxy's 60 s; here at least longer than actix-web's own 5 s.
    let server = Server::start(&[]);
    let mut stream = server.connect();
    for pause in [0, 8] {
        std::thread::sleep(Duration::from_secs(pause));
        stream.write_all(health).unwrap();
        assert_eq!(read_answer(&mut stream).status, 200);
    }
}

#[test]
fn a_client_that_closes_its_side_gets_its_answer() {
    let server = Server::start(&QUICK);
    let body = form(&[("image", true, &picture())]);
    let get = |path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
    for request in [
        get("/health/"),
        get("/model/"),
        get("/"),
        post_bytes("/predict/", FORM, &body),
        [get("/health/"), post_bytes("/predict/", FORM, &body)].concat(),
    ] {
        for pause in [false, true] {
            let mut stream = server.connect();
            stream.write_all(&request).unwrap();
            if pause {
                // The end arrives while the request is in work, or after it.
                std::thread::sleep(Duration::from_millis(30));
            }
            stream.shutdown(Shutdown::Write).unwrap();
            let answer = read_answer(&mut stream);
            assert_eq!(answer.status, 200, "{}", answer.head);
            // And the server closes, too.
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
        }
    }
}

/// A client that closes its side while its request waits or runs for long is told apart from one that
/// is gone.
#[test]
fn a_half_closed_client_waits_and_one_that_is_gone_does_not() {
    let (model, server) = SlowModel::serve(&[("THREADS", "1"), ("MAX_REQUESTS", "0")]);
    let body = form(&[("image", true, &picture()), ("gradcam", false, b"false")]);
    let send = || {
        let mut stream = server.connect();
        stream.write_all(&post_bytes("/predict/", FORM, &body)).unwrap();
        stream
    };
    let first = send();
    server.until("running", |running| *running == 1);
    let (halves, gone): (Vec<_>, Vec<_>) = (0..10).map(|_| (send(), send())).unzip();
    server.until("waiting", |waiting| *waiting == 20);
    for stream in halves.iter().chain([&first]) {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    drop(gone);
    server.until("waiting", |waiting| *waiting == 10);
    // Longer than it takes to tell.
    std::thread::sleep(Duration::from_secs(1));
    server.until("waiting", |waiting| *waiting == 10);
    model.let_load();
    for mut stream in halves.into_iter().chain([first]) {
        let answer = read_answer(&mut stream);
        assert_eq!(answer.status, 200, "{} {}", answer.head, answer.text());
        assert!(answer.head.starts_with("HTTP/1.1 200 OK\r\n"), "{}", answer.head);
        assert!(answer.json()["results"].is_array());
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty());
    }
    assert_eq!(server.memory()["predictions"], 11);
}

#[test]
fn an_oversized_body_is_refused_without_being_asked_for() {
    let server = Server::start(&QUICK);
    let head = |length: usize| {
        format!(
            "POST /predict/ HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n\
             Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let mut stream = server.connect();
    stream.write_all(head(50_000_000).as_bytes()).unwrap();
    let answer = read_answer(&mut stream);
    assert_eq!(answer.status, 413, "{}", answer.head);
    assert!(answer.error().contains("larger than"));
    assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"));
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "the connection is closed");

    let mut stream = server.connect();
    let bytes = picture();
    stream.write_all(head(bytes.len()).as_bytes()).unwrap();
    let go_on = read_answer(&mut stream);
    assert_eq!(go_on.status, 100);
    stream.write_all(&bytes).unwrap();
    assert_eq!(read_answer(&mut stream).status, 200);
}
