//! Several pictures in one request: answers in order, one bad picture fails alone.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{Answer, FORM, Server, data, form, picture};
use serde_json::{Value, json};

const JSON: &str = "Content-Type: application/json\r\n";

/// The text of a chunked body.
fn dechunked(body: &[u8]) -> Vec<u8> {
    let (mut rest, mut text) = (body, Vec::new());
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return text;
        }
        text.extend_from_slice(&rest[end + 2..end + 2 + length]);
        rest = &rest[end + 2 + length + 2..];
    }
}

/// Sends a request and reads until the server closes.
fn post(server: &Server, path: &str, headers: &str, body: &[u8]) -> Answer {
    use std::io::{Read, Write};
    let mut stream = server.connect();
    let _ = stream.write_all(&common::post_bytes(path, headers, body));
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let split = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&bytes[..split]).into_owned();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut answer = Answer { status, head, body: bytes[split + 4..].to_vec() };
    if answer.header("Transfer-Encoding") == Some("chunked") {
        answer.body = dechunked(&answer.body);
    }
    answer
}

fn predictions(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["predictions"].as_array().unwrap().clone()
}

fn pictures() -> [Vec<u8>; 3] {
    [picture(), data("progressive.jpg"), picture()]
}

#[test]
fn answers_are_in_order_and_as_for_each_alone() {
    let server = Server::start(&[]);
    let alone: Vec<Value> = pictures()
        .iter()
        .map(|one| post(&server, "/predict/?top_k=3", FORM, &form(&[("image", true, one)])).json())
        .collect();
    let [first, second, third] = pictures();
    let text = |bytes: &[u8]| STANDARD.encode(bytes);
    let urlencoded = |bytes: &[u8]| {
        format!(
            "image={}&",
            form_urlencoded::byte_serialize(text(bytes).as_bytes()).collect::<String>()
        )
    };
    let url = format!("data:image/jpeg;base64,{}", text(&second));
    let requests: [(&str, Vec<u8>); 5] = [
        (
            FORM,
            form(&[
                ("image", true, &first),
                ("image", true, b""),
                ("image", false, url.as_bytes()),
                ("image", true, &third),
            ]),
        ),
        (JSON, json!({"image": [text(&first), url, text(&third)]}).to_string().into_bytes()),
        (JSON, json!({"images": [text(&first), url, text(&third)]}).to_string().into_bytes()),
        (
            JSON,
            json!({"instances": [{"b64": text(&first)}, {"b64": text(&second)}, {"image": {"b64": text(&third)}}]})
                .to_string()
                .into_bytes(),
        ),
        (
            "Content-Type: application/x-www-form-urlencoded\r\n",
            [first, second, third].iter().map(|one| urlencoded(one)).collect::<String>().into_bytes(),
        ),
    ];
    for (headers, body) in requests {
        let answers = predictions(&post(&server, "/predict/?top_k=3", headers, &body));
        assert_eq!(answers.len(), 3);
        for (answer, alone) in answers.iter().zip(&alone) {
            assert_eq!(answer["results"], alone["results"], "{headers}");
            assert_eq!(answer["heatmap"], alone["heatmap"], "{headers}");
        }
    }
    assert_eq!(server.memory()["budget"]["uploads_mb"], 0.0);
}

#[test]
fn one_bad_picture_fails_alone() {
    let server = Server::start(&[]);
    let good = picture();
    let body = form(&[
        ("image", true, &good),
        ("image", true, b"not a picture"),
        ("image", true, &good[..100]),
        ("image", false, b"data:image/jpeg;base64,$$$"),
        ("image", true, &good),
    ]);
    let answers = predictions(&post(&server, "/predict/?gradcam=false", FORM, &body));
    assert_eq!(answers.len(), 5);
    for (index, status) in [(1, 415), (2, 400), (3, 400)] {
        assert_eq!(answers[index]["status"], status, "{}", answers[index]);
        assert!(answers[index]["error"].is_string());
    }
    assert_eq!(answers[0]["results"], answers[4]["results"]);
    assert!(answers[0]["results"].is_array());
    // The first one may be the bad one.
    let text = json!({"image": ["", STANDARD.encode(&good)]}).to_string();
    let answers = predictions(&post(&server, "/predict/?gradcam=false", JSON, text.as_bytes()));
    assert_eq!(answers[0]["status"], 400);
    assert!(answers[1]["results"].is_array());
}

#[test]
fn what_would_meet_all_pictures_fails_the_request() {
    let server = Server::start(&[]);
    let two = form(&[("image", true, &picture()), ("image", true, &picture())]);
    for (path, status) in
        [("/predict/?class=nowhere", 422), ("/predict/?model=x", 422), ("/predict/?alpha=2", 422)]
    {
        assert_eq!(post(&server, path, FORM, &two).status, status, "{path}");
    }
    let page = format!("{FORM}Accept: text/html\r\n");
    assert_eq!(post(&server, "/predict/", &page, &two).status, 400);
}

#[test]
fn pictures_are_counted_and_their_bytes_are_limited() {
    let server = Server::start(&[("MAX_UPLOAD_BYTES", "300000")]);
    let many = vec![("image", true, &b"x"[..]); 129];
    let refused = post(&server, "/predict/", FORM, &form(&many));
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(refused.error().contains("128 pictures"), "{}", refused.error());
    let listed = json!({"image": vec!["AAAA"; 129]}).to_string();
    assert!(post(&server, "/predict/", JSON, listed.as_bytes()).error().contains("128 elements"));
    let encoded = "image=AAAA&".repeat(129);
    let form_type = "Content-Type: application/x-www-form-urlencoded\r\n";
    let refused = post(&server, "/predict/", form_type, encoded.as_bytes());
    assert!(refused.error().contains("128 pictures"));
    let all = vec![("image", true, &b"x"[..]); 128];
    assert_eq!(predictions(&post(&server, "/predict/", FORM, &form(&all))).len(), 128);
    let large = vec![0; 200_000];
    let three = form(&[("image", true, &large), ("image", true, &large), ("image", true, &large)]);
    assert_eq!(post(&server, "/predict/", FORM, &three).status, 413);
}

#[test]
fn many_pictures_take_the_memory_of_one() {
    let server = Server::start(&[("MEMORY_BUDGET_MB", "64"), ("MAX_REQUESTS", "0")]);
    let one = form(&[("image", true, &picture())]);
    assert_eq!(post(&server, "/predict/", FORM, &one).status, 200);
    let peak = || server.memory()["memory"]["peak_mb"].as_f64();
    let before = peak();
    let picture = picture();
    let many = vec![("image", true, &picture[..]); 40];
    assert_eq!(predictions(&post(&server, "/predict/", FORM, &form(&many))).len(), 40);
    if let Some((before, after)) = before.zip(peak()) {
        // Their answers alone are 6 MiB, and 40 pictures in work at once would take more than 100. Code that is
        // used for the first time counts as well.
        let bytes = (40 * picture.len()) as f64 / 1048576.0;
        assert!(after < before + bytes + 6.0, "{before} MiB, then {after} MiB");
    }
    assert_eq!(server.memory()["predictions"], 41);
    let memory = server.memory();
    assert_eq!(memory["budget"]["uploads_mb"], 0.0, "{memory}");
}
