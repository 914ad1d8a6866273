//! Pictures as clients of other servers send them, and the messages when they are not accepted.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{Answer, FORM, Server, form, picture};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use std::io::Write;

const JSON: &str = "Content-Type: application/json\r\n";
const JPEG: &str = "Content-Type: image/jpeg\r\n";
const URLENCODED: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const QUICK: [(&str, &str); 2] = [("ENABLE_GRADCAM", "false"), ("MAX_REQUESTS", "0")];

fn ok(answer: &Answer) -> serde_json::Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["results"].clone()
}

fn bad(answer: &Answer, status: u16, parts: &[&str]) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let error = answer.error();
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
}

#[test]
fn the_only_file_is_the_picture_under_any_usual_name() {
    let server = Server::start(&QUICK);
    let bytes = picture();
    let url = format!("data:image/jpeg;base64,{}", STANDARD.encode(&bytes));
    let expected = ok(&server.post("/predict/", FORM, &form(&[("image", true, &bytes)])));
    let names = [
        "file", "files", "image[]", "images", "picture", "photo", "img", "upload", "data", "Image",
    ];
    for name in names {
        for fields in [
            vec![(name, true, &bytes[..])],
            vec![(name, false, url.as_bytes())],
            // A file that was not chosen, and fields that have nothing to do with it.
            vec![("image", true, &b""[..]), (name, true, &bytes)],
            vec![
                (name, true, &bytes),
                ("image", true, b""),
                ("csrf", false, b"x"),
                ("top_k", false, b""),
            ],
            vec![("other", true, b""), (name, true, &bytes), ("data", false, b"word")],
        ] {
            assert_eq!(ok(&server.post("/predict/", FORM, &form(&fields))), expected, "{name}");
        }
        for fields in [
            vec![("image", true, &bytes[..]), (name, true, &bytes)],
            vec![(name, true, &bytes), ("image", true, &bytes)],
        ] {
            let name = format!("\"{name}\"");
            bad(&server.post("/predict/", FORM, &form(&fields)), 400, &[&name, "\"image\""]);
        }
    }
    let two = form(&[("file", true, &bytes), ("photo", true, &bytes)]);
    bad(&server.post("/predict/", FORM, &two), 400, &["\"photo\"", "\"image\""]);
    for fields in [[("lesion", true, &bytes[..])], [("lesion", false, url.as_bytes())]] {
        bad(&server.post("/predict/", FORM, &form(&fields)), 400, &["\"lesion\"", "\"image\""]);
    }
}

#[test]
fn an_empty_second_picture_does_not_discard_the_first() {
    let server = Server::start(&QUICK);
    let bytes = picture();
    let fields = |second: &[u8]| form(&[("image", true, &bytes), ("image", true, second)]);
    let expected = ok(&server.post("/predict/", FORM, &form(&[("image", true, &bytes)])));
    assert_eq!(ok(&server.post("/predict/", FORM, &fields(b""))), expected);
}

#[test]
fn file_names_of_any_encoding() {
    let server = Server::start(&QUICK);
    let bytes = picture();
    for name in [
        &b"h\xe4utle.jpg"[..],
        b"h\xc3\xa4utle.jpg",
        b"\xff\xfe\x80",
        b"\x83\x65\x83\x58\x83\x67.jpg",
    ] {
        let head = b"--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"";
        let body = [head, name, b"\"\r\n\r\n", &bytes, b"\r\n--B--\r\n"].concat();
        ok(&server.post("/predict/", FORM, &body));
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compressed_bodies_are_decoded() {
    let server = Server::start(&QUICK);
    let bytes = picture();
    let expected = ok(&server.post("/predict/", JPEG, &bytes));
    let json = format!("{{\"image\": \"{}\"}}", STANDARD.encode(&bytes));
    let two_members = [gzip(&bytes[..100]), gzip(&bytes[100..])].concat();
    for (headers, body) in [
        (format!("{JPEG}Content-Encoding: gzip\r\n"), gzip(&bytes)),
        (format!("{JPEG}Content-Encoding: X-GZIP\r\n"), gzip(&bytes)),
        (format!("{JPEG}Content-Encoding: gzip\r\n"), two_members),
        (format!("{JPEG}Content-Encoding: deflate\r\n"), zlib(&bytes)),
        (format!("{JPEG}Content-Encoding: deflate\r\n"), deflate(&bytes)),
        (format!("{JPEG}Content-Encoding: identity\r\n"), bytes.clone()),
        (format!("{FORM}Content-Encoding: gzip\r\n"), gzip(&form(&[("image", true, &bytes)]))),
        (format!("{JSON}Content-Encoding: gzip\r\n"), gzip(json.as_bytes())),
    ] {
        assert_eq!(ok(&server.post("/predict/", &headers, &body)), expected, "{headers}");
    }
}

#[test]
fn compressed_bodies_are_limited_by_what_they_hold() {
    let server = Server::start(&QUICK);
    let peak = || server.memory()["memory"]["peak_mb"].as_f64().unwrap();
    server.post("/predict/", JPEG, &picture());
    let before = peak();
    // A gigabyte in one megabyte.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; 1 << 20];
    (0..1024).for_each(|_| encoder.write_all(&zeros).unwrap());
    let bomb = encoder.finish().unwrap();
    let mut multipart = b"--B\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\n".to_vec();
    multipart.extend(vec![0; 64 << 20]);
    for (kind, body) in
        [(JPEG, &bomb), (JSON, &bomb), (URLENCODED, &bomb), (FORM, &gzip(&multipart))]
    {
        let answer = server.post("/predict/", &format!("{kind}Content-Encoding: gzip\r\n"), body);
        bad(&answer, 413, &["larger than 5242880 bytes"]);
    }
    assert!(peak() - before < 32.0, "{} MiB", peak() - before);
    // Twenty thousand members that hold nothing: more than the largest body.
    let nothing = gzip(b"").repeat(400_000);
    assert!(nothing.len() > 7_500_000);
    let answer = server.post("/predict/", &format!("{JPEG}Content-Encoding: gzip\r\n"), &nothing);
    assert!([400, 413].contains(&answer.status), "{}", answer.text());
}

#[test]
fn encodings_that_are_not_read_or_damaged_are_refused_by_name() {
    let server = Server::start(&QUICK);
    let bytes = picture();
    for name in ["br", "zstd", "compress", "gzip, gzip", "magic"] {
        let headers = format!("{JPEG}Content-Encoding: {name}\r\n");
        let answer = server.post("/predict/", &headers, &bytes);
        bad(&answer, 415, &[name, "gzip, deflate"]);
        assert_eq!(answer.header("Accept-Encoding"), Some("gzip, deflate"));
    }
    let whole = gzip(&bytes);
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    for body in [&bytes[..], &whole[..whole.len() / 2], &flipped, b"", b"\x1f"] {
        let answer = server.post("/predict/", &format!("{JPEG}Content-Encoding: gzip\r\n"), body);
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
    ok(&server.post("/predict/", JPEG, &bytes));
}

#[test]
fn a_picture_that_is_called_a_form_is_explained() {
    let server = Server::start(&QUICK);
    for name in ["baseline.jpg", "alpha.webp", "interlaced.png"] {
        let path = format!(
            "{}/../../crates/derm-preprocess/tests/data/{name}",
            env!("CARGO_MANIFEST_DIR")
        );
        let Ok(bytes) = std::fs::read(path) else { continue };
        let answer = server.post("/predict/", URLENCODED, &bytes);
        bad(&answer, 400, &["Content-Type: image/jpeg", "curl -F image=@FILE"]);
    }
}

#[test]
fn json_of_tensorflow_serving_and_hugging_face() {
    let server = Server::start(&QUICK);
    let bytes = picture();
    let expected = ok(&server.post("/predict/", JPEG, &bytes));
    let text = STANDARD.encode(&bytes);
    for body in [
        format!("{{\"instances\": [{{\"b64\": \"{text}\"}}]}}"),
        format!(
            "{{\"signature_name\": \"x\", \"instances\": [{{\"image\": {{\"b64\": \"{text}\"}}}}]}}"
        ),
        format!("{{\"instances\": [{{\"b64\": \"{text}\", \"key\": 1}}]}}"),
        format!("{{\"inputs\": {{\"image\": [{{\"b64\": \"{text}\"}}]}}}}"),
        format!("{{\"inputs\": \"{text}\"}}"),
        format!("{{\"inputs\": \"DATA:image/jpeg;BASE64,{text}\"}}"),
        format!("{{\"image\": {{\"b64\": \"{text}\"}}}}"),
    ] {
        assert_eq!(
            ok(&server.post("/predict/", JSON, body.as_bytes())),
            expected,
            "{}",
            &body[..60]
        );
    }
    let top = format!("{{\"inputs\": \"{text}\", \"parameters\": {{\"top_k\": 2}}}}");
    assert_eq!(ok(&server.post("/predict/", JSON, top.as_bytes())).as_array().unwrap().len(), 2);
    for (body, part) in [
        ("{\"instances\": []}".to_owned(), "empty"),
        ("{\"instances\": [[[0.1, 0.2]]]}".to_owned(), "not a string"),
        ("{\"instances\": [[\"a\", \"b\"], \"c\"]}".to_owned(), "more than one"),
        ("{\"instances\": [[[[[[1]]]]]]}".to_owned(), "not a string"),
        ("{\"inputs\": 3}".to_owned(), "not a string"),
        ("{\"inputs\": {\"a\": \"\", \"b\": \"\"}}".to_owned(), "several fields"),
    ] {
        bad(&server.post("/predict/", JSON, body.as_bytes()), 400, &[part]);
    }
    let deep = format!("{{\"instances\": {}", "[".repeat(100_000));
    assert_eq!(server.post("/predict/", JSON, deep.as_bytes()).status, 400);
}

#[test]
fn data_urls_in_capitals() {
    let server = Server::start(&QUICK);
    let bytes = picture();
    let expected = ok(&server.post("/predict/", JPEG, &bytes));
    let url = format!("DATA:IMAGE/JPEG;BASE64,{}", STANDARD.encode(&bytes));
    let json = format!("{{\"image\": \"{url}\"}}");
    for (headers, body) in [
        (FORM, form(&[("image", false, url.as_bytes())])),
        (URLENCODED, format!("image={url}").into_bytes()),
        (JSON, json.into_bytes()),
    ] {
        assert_eq!(ok(&server.post("/predict/", headers, &body)), expected, "{headers}");
    }
}

/// The longest run of the letter `Z`, of which the hostile inputs consist, and nothing invisible.
fn repeats(message: &str) -> usize {
    assert!(message.chars().all(|c| !c.is_control()), "{message:?}");
    message.chars().filter(|c| *c == 'Z').count()
}

#[test]
fn messages_repeat_at_most_80_characters_of_input() {
    let server = Server::start(&[("MAX_REQUESTS", "0")]);
    let long = "Z".repeat(1000);
    let with = |name: &str, value: &str| {
        form(&[("image", true, &picture()), (name, false, value.as_bytes())])
    };
    let mut cases: Vec<(String, String, Vec<u8>)> = Vec::new();
    let mut case = |path: &str, headers: &str, body: Vec<u8>| {
        cases.push((path.to_owned(), headers.to_owned(), body));
    };
    for name in [
        "top_k", "tta", "smooth", "gradcam", "method", "class", "output", "size", "colormap",
        "alpha", "contour",
    ] {
        case("/predict/", FORM, with(name, &long));
        case("/predict/", FORM, with(name, &format!("{long}\u{1b}[31m\r\n\u{0}")));
        case(&format!("/predict/?{name}={long}"), FORM, with("x", "y"));
    }
    case("/predict/", FORM, with(&long, &"y".repeat(3000)));
    case("/predict/", FORM, form(&[(&long, true, &picture())]));
    case("/predict/", &format!("Content-Type: {long}\r\n"), picture());
    case("/predict/", &format!("Content-Type: multipart/form-data; x={long}\r\n"), picture());
    case("/predict/", &format!("{JPEG}Content-Encoding: {long}\r\n"), picture());
    for body in [
        format!("\"{long}\""),
        long.clone(),
        format!("{{\"{long}"),
        format!("{{\"image\": {long}}}"),
        format!("{{\"image\": \"{long}$\"}}"),
        format!("{{\"image\": {{\"{long}\": 1}}}}"),
        format!("{{\"inputs\": [[\"{long}\", \"{long}\"], \"{long}\"]}}"),
        format!("{{\"image\": \"data:{long}\"}}"),
        format!("{{\"top_k\": \"{long}\"}}"),
    ] {
        case("/predict/", JSON, body.into_bytes());
    }
    case("/predict/", URLENCODED, format!("image=data:{long}").into_bytes());
    case(&format!("/{long}"), "", Vec::new());
    for (path, headers, body) in cases {
        let answer = server.post(&path, &headers, &body);
        assert!((400..500).contains(&answer.status), "{headers} {}", answer.text());
        let error = answer.error();
        assert!(repeats(&error) <= 80, "{error}");
    }
    let method =
        format!("{} /health/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "Z".repeat(200));
    assert!(repeats(&server.raw(method.as_bytes()).error()) <= 80);
    // A layer's name is looked up in the graph, when an explanation is made.
    bad(&server.post("/predict/", FORM, &with("layer", &long)), 422, &["layer", "ZZZ"]);
    assert!(repeats(&server.post("/predict/", FORM, &with("layer", &long)).error()) <= 80);
}
