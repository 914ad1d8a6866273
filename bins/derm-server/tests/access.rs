//! Keys, origins, rate limits, headers, and that the server talks to nobody.

#![allow(clippy::unwrap_used, missing_docs, clippy::print_stderr)]

mod common;

use common::{FORM, LONG, Server, command, form, free_port, picture};
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Instant;

const KEY: &str = "correct-horse-battery";

fn body() -> Vec<u8> {
    form(&[("image", true, &picture()), ("gradcam", false, b"false")])
}

#[test]
fn predictions_need_a_key_and_probes_do_not() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "# name:hash\nclinic:{}", hash(KEY)).unwrap();
    let server = Server::start(&[("API_KEYS_FILE", file.path().to_str().unwrap())]);
    for path in [
        "/health/",
        "/livez",
        "/readyz",
        "/",
        "/style.css",
        "/app.js",
        "/example.jpg",
        "/openapi.json",
        "/docs/",
        "/api.js",
    ] {
        assert_ne!(server.get(path).status, 401, "{path}");
    }
    for path in
        ["/memory/", "/model/", "/metrics", "/nothing", "//memory", "/%6demory", "/memory/?/health"]
    {
        assert_eq!(server.get(path).status, 401, "{path}");
    }
    for header in
        ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic eDp5\r\n", "X-API-Key: \r\n"]
    {
        let answer = server.post("/predict/", &format!("{FORM}{header}"), &body());
        assert_eq!(answer.status, 401, "{header}");
        assert_eq!(answer.header("WWW-Authenticate"), Some("Bearer"));
        assert!(answer.error().contains("X-API-Key"), "{}", answer.error());
    }
    for header in ["Authorization: Bearer ", "authorization: bearer ", "X-API-Key: "] {
        let answer = server.post("/predict/", &format!("{FORM}{header}{KEY}\r\n"), &body());
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let page = server.post("/upload/", &format!("{FORM}Accept: text/html\r\n"), &body());
    assert_eq!(page.status, 401);
    assert!(page.text().contains("role=\"alert\">send a valid key"), "a browser gets a page");
}

/// Of the program that operators use.
fn hash(key: &str) -> String {
    let mut child =
        Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(key.as_bytes()).unwrap();
    let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    output.split(' ').next().unwrap().to_owned()
}

#[test]
fn a_bad_file_of_keys_stops_the_start() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "clinic:{KEY}").unwrap();
    for path in [file.path().to_str().unwrap(), "/no/such/file"] {
        let ended = common::output(&[], &[("API_KEYS_FILE", path), ("PORT", "0")]);
        let text = String::from_utf8(ended.stderr).unwrap();
        assert!(!ended.status.success());
        assert!(text.contains("API_KEYS_FILE") && !text.contains(KEY), "{text}");
    }
}

#[test]
fn a_client_beyond_its_rate_is_told_when_to_come_back() {
    let server = Server::start(&[
        ("RATE_LIMIT", "3/h"),
        ("TRUSTED_PROXIES", "127.0.0.0/8"),
        ("MAX_REQUESTS", "0"),
    ]);
    let ask = |client: &str| {
        let headers = format!("{FORM}X-Forwarded-For: {client}\r\n");
        server.post("/predict/", &headers, &body())
    };
    for _ in 0..3 {
        assert_eq!(ask("203.0.113.1").status, 200);
    }
    let refused = ask("203.0.113.1");
    assert_eq!(refused.status, 429, "{}", refused.text());
    let seconds: u64 = refused.header("Retry-After").unwrap().parse().unwrap();
    assert!((1..=1201).contains(&seconds), "{seconds}");
    assert!(refused.error().contains("too many requests"));
    assert_eq!(ask("203.0.113.2").status, 200, "another client");
    assert_eq!(ask("9.9.9.9, 203.0.113.1").status, 429, "the client's own claim does not count");
    for _ in 0..20 {
        assert_eq!(server.get("/health/").status, 200, "probes have no limit");
    }
}

#[test]
fn listed_origins_may_read_answers() {
    let server =
        Server::start(&[("CORS_ORIGINS", "https://clinic.example, http://localhost:3000")]);
    let preflight = |origin: &str| {
        let head = format!(
            "OPTIONS /predict/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: authorization,content-type\r\n\r\n"
        );
        server.raw(head.as_bytes())
    };
    for origin in ["https://clinic.example", "http://localhost:3000"] {
        let answer = preflight(origin);
        assert!(matches!(answer.status, 200 | 204), "{}", answer.head);
        assert_eq!(answer.header("Access-Control-Allow-Origin"), Some(origin));
        let methods = answer.header("Access-Control-Allow-Methods").unwrap();
        assert!(methods.contains("POST"), "{methods}");
        let headers = answer.header("Access-Control-Allow-Headers").unwrap().to_ascii_lowercase();
        assert!(headers.contains("authorization"), "{headers}");
        assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"));
        let asked = server.post("/predict/", &format!("{FORM}Origin: {origin}\r\n"), &body());
        assert_eq!(
            (asked.status, asked.header("Access-Control-Allow-Origin")),
            (200, Some(origin))
        );
        assert!(asked.header("Vary").unwrap().contains("Origin"), "{}", asked.head);
    }
    for origin in ["https://evil.example", "https://clinic.example.evil.example", "null"] {
        let answer = preflight(origin);
        assert_eq!(answer.header("Access-Control-Allow-Origin"), None, "{}", answer.head);
    }
    let plain = Server::start(&[]);
    let answer =
        plain.post("/predict/", &format!("{FORM}Origin: https://clinic.example\r\n"), &body());
    assert_eq!((answer.status, answer.header("Access-Control-Allow-Origin")), (200, None));
}

#[test]
fn every_answer_has_the_security_headers() {
    let server = Server::start(&[("ADMIN_KEY", "an-admin-key-of-length")]);
    for answer in [
        server.get("/"),
        server.get("/health/"),
        server.get("/readyz"),
        server.get("/nothing"),
        server.get("/predict/"),
        server.post("/predict/", "", b""),
        server.post("/predict/", FORM, &body()),
        server.post("/admin/reload", "", b""),
    ] {
        for name in [
            "X-Content-Type-Options",
            "Referrer-Policy",
            "Content-Security-Policy",
            "Permissions-Policy",
            "Cache-Control",
            "X-Request-Id",
        ] {
            assert!(answer.header(name).is_some(), "{name} in {}", answer.head);
        }
    }
}

#[test]
fn the_callers_trace_and_the_name_of_the_key_are_logged() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "clinic:{}", hash(KEY)).unwrap();
    let log = tempfile::NamedTempFile::new().unwrap();
    let port = free_port();
    let mut child = command(&[("RUST_LOG", "info"), ("HOST", "127.0.0.1")])
        .env("API_KEYS_FILE", file.path())
        .env("PORT", port.to_string())
        .stderr(log.reopen().unwrap())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(start.elapsed() < LONG);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "GET /memory/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-Key: {KEY}\r\n\
         traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(common::read_answer(&mut stream).status, 200);
    let line = loop {
        let text = std::fs::read_to_string(log.path()).unwrap();
        if let Some(line) = text.lines().find(|line| line.contains("/memory")) {
            break line.to_owned();
        }
        assert!(start.elapsed() < LONG, "{text}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(line["parent_id"], "00f067aa0ba902b7");
    assert_eq!(line["key"], "clinic");
    assert!(!line.to_string().contains(KEY));
}

/// Every socket call of the server's life, as strace sees it. Without strace there is nothing to see.
#[test]
fn the_server_opens_no_outgoing_connection() {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let traced = ["-f", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o"];
    let works = Command::new("strace").args(traced).arg(trace.path()).arg("true").output();
    if !works.is_ok_and(|output| output.status.success()) {
        eprintln!("strace cannot be run here");
        return;
    }
    let port = free_port();
    let server = env!("CARGO_BIN_EXE_derm-server");
    let mut child = Command::new("strace")
        .args(traced)
        .arg(trace.path())
        .arg(server)
        .env_clear()
        .envs([
            ("HOST", "127.0.0.1"),
            ("RATE_LIMIT", "1000"),
            ("CORS_ORIGINS", "https://a.example"),
        ])
        .env("PORT", port.to_string())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let connect = || TcpStream::connect(("127.0.0.1", port));
    while connect().is_err() {
        assert!(start.elapsed() < LONG);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    for request in [
        common::post_bytes("/predict/", FORM, &body()),
        common::post_bytes(
            "/predict/?method=saliency",
            FORM,
            &form(&[("image", true, &picture())]),
        ),
        b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(),
    ] {
        let mut stream = connect().unwrap();
        stream.write_all(&request).unwrap();
        assert!(common::read_answer(&mut stream).status < 504);
    }
    // strace ends with the server.
    let served = Command::new("pkill").args(["-TERM", "-P", &child.id().to_string()]).status();
    assert!(served.unwrap().success());
    child.wait().unwrap();
    let calls = std::fs::read_to_string(trace.path()).unwrap();
    assert!(calls.contains("SIGTERM"), "the whole life was traced: {calls}");
    let outgoing: Vec<_> = calls
        .lines()
        .filter(|line| line.contains("connect(") || line.contains("sa_family="))
        .collect();
    assert!(outgoing.is_empty(), "{outgoing:?}");
}
