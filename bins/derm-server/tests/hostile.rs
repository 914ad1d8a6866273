//! Malformed and malicious requests: each gets the documented status and a JSON error, the server
//! lives on, and its memory comes back.

#![allow(clippy::unwrap_used, missing_docs, clippy::print_stderr)]

mod common;

use common::{FORM, LONG, Server, SlowClients, data, form, picture, post_bytes, read_answer};
use std::io::Write;
use std::time::{Duration, Instant};

/// A PNG header that announces `side` x `side` pixels.
fn png_bomb(side: u32) -> Vec<u8> {
    let mut png = data("rgb.png");
    png[16..20].copy_from_slice(&side.to_be_bytes());
    png[20..24].copy_from_slice(&side.to_be_bytes());
    // The header's checksum, so that it is believed.
    let crc = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&crc.to_be_bytes());
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    })
}

/// A GIF of 20000 x 20000 in a few bytes.
fn gif_bomb() -> Vec<u8> {
    let mut gif = data("two-frames.gif");
    gif[6..10].copy_from_slice(&[0x20, 0x4e, 0x20, 0x4e]);
    gif
}

/// A WebP of one colour, 4900 x 4900: 24 megapixels in a few KB, within the limit on pixels but, since
/// it is decoded whole, not on memory.
fn valid_but_heavy() -> Vec<u8> {
    let mut webp = Vec::new();
    image::DynamicImage::new_rgba8(4900, 4900)
        .write_to(&mut std::io::Cursor::new(&mut webp), image::ImageFormat::WebP)
        .unwrap();
    webp
}

/// What it is, path, headers, body, and the status that it gets.
type Case = (&'static str, &'static str, &'static str, Vec<u8>, u16);

const JSON: &str = "Content-Type: application/json\r\n";

fn file(bytes: &[u8]) -> Vec<u8> {
    form(&[("image", true, bytes)])
}

fn fine() -> Vec<u8> {
    file(&picture())
}

fn pictures() -> Vec<Case> {
    let (jpeg, png, webp) = (picture(), data("rgb.png"), data("lossy.webp"));
    vec![
        ("truncated jpeg", "/predict/", FORM, file(&jpeg[..200]), 400),
        ("truncated png", "/predict/", FORM, file(&png[..png.len() / 3]), 400),
        ("truncated webp", "/predict/", FORM, file(&webp[..400]), 400),
        ("no picture", "/predict/", FORM, form(&[("other", false, b"1")]), 400),
        ("empty picture", "/predict/", FORM, file(b""), 400),
        ("text", "/predict/", FORM, file(b"just some words, not a picture"), 415),
        ("pdf", "/predict/", FORM, file(b"%PDF-1.7\n%more"), 415),
        ("svg", "/predict/", FORM, file(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), 415),
        ("zip", "/predict/", FORM, file(b"PK\x03\x04 chunks of zip"), 415),
        ("pixel bomb, png", "/predict/", FORM, file(&png_bomb(60_000)), 413),
        ("pixel bomb, gif", "/predict/", FORM, file(&gif_bomb()), 413),
        ("memory bomb, webp", "/predict/", FORM, file(&valid_but_heavy()), 413),
    ]
}

fn bodies() -> Vec<Case> {
    let jpeg = picture();
    let large = vec![b'x'; 6 << 20];
    vec![
        ("empty body", "/predict/", FORM, Vec::new(), 400),
        ("no content type", "/predict/", "", jpeg.clone(), 400),
        ("wrong type", "/predict/", "Content-Type: text/plain\r\n", jpeg.clone(), 415),
        ("xml", "/predict/", "Content-Type: application/xml\r\n", jpeg, 415),
        ("too large, form", "/predict/", FORM, file(&large), 413),
        ("too large, raw", "/predict/", "Content-Type: image/jpeg\r\n", large.clone(), 413),
        ("too large, json", "/predict/", JSON, [&large[..], &large[..]].concat(), 413),
        ("json array", "/predict/", JSON, b"[1,2]".to_vec(), 400),
        ("json number", "/predict/", JSON, b"{\"image\": 5}".to_vec(), 400),
        ("broken json", "/predict/", JSON, b"{\"image\": ".to_vec(), 400),
        ("bad base64", "/predict/", JSON, b"{\"image\": \"$$$\"}".to_vec(), 400),
        ("deep json", "/predict/", JSON, vec![b'['; 100_000], 400),
        ("deep json value", "/predict/", JSON, [b"{\"a\":", &[b'['; 100_000][..]].concat(), 400),
        ("bad boundary", "/predict/", "Content-Type: multipart/form-data\r\n", fine(), 400),
    ]
}

fn parameters_and_paths() -> Vec<Case> {
    let with = |name: &str, value: &str| {
        form(&[("image", true, &picture()), (name, false, value.as_bytes())])
    };
    vec![
        ("alpha NaN", "/predict/", FORM, with("alpha", "NaN"), 422),
        ("alpha 1e999", "/predict/", FORM, with("alpha", "1e999"), 422),
        ("top_k -1", "/predict/", FORM, with("top_k", "-1"), 422),
        ("top_k huge", "/predict/?top_k=99999999999999999999", FORM, fine(), 422),
        ("class unknown", "/predict/", FORM, with("class", "../../etc/passwd"), 422),
        ("layer unknown", "/predict/", FORM, with("layer", "nowhere"), 422),
        ("method unknown", "/predict/", FORM, with("method", "magic"), 422),
        ("long parameter", "/predict/", FORM, with("class", &"x".repeat(5000)), 413),
        ("path trick", "/predict/../../etc/passwd", FORM, fine(), 404),
        ("encoded path trick", "/%2e%2e/%2e%2e/etc/passwd", FORM, fine(), 404),
        ("huge headers", "/predict/", &HUGE_HEADER, fine(), 431),
        ("post to a page", "/", FORM, fine(), 405),
    ]
}

#[test]
fn hostile_requests_get_their_4xx_and_cost_nothing() {
    let server = Server::start(&[("UPLOAD_SECONDS", "300"), ("MAX_REQUESTS", "0")]);
    assert_eq!(server.post("/predict/", FORM, &fine()).status, 200);
    let before = memory(&server, "rss_mb");

    for (name, path, headers, body, status) in
        [pictures(), bodies(), parameters_and_paths()].concat()
    {
        let answer = server.post(path, headers, &body);
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        assert!(!answer.error().is_empty(), "{name}");
    }
    let many: Vec<(&str, bool, &[u8])> = vec![("x", false, b"1"); 500];
    let answer = server.post("/predict/", FORM, &form(&many));
    assert_eq!((answer.status, answer.error().contains("fields")), (400, true));
    let answer = server.get("/predict/");
    assert_eq!((answer.status, answer.header("Allow")), (405, Some("POST")));

    chunked_without_end(&server);
    two_large_pictures(&server);
    gone_in_the_middle(&server);
    broken_protocol(&server);

    assert_eq!(server.post("/predict/", FORM, &fine()).status, 200, "it lives on");
    // Housekeeping returns the memory in the next pause.
    let start = Instant::now();
    loop {
        let after = memory(&server, "rss_mb");
        if after < before + 8.0 {
            break;
        }
        assert!(start.elapsed() < LONG, "RSS {before} MiB before, {after} MiB after");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A field of `/memory/`, MiB.
fn memory(server: &Server, field: &str) -> f64 {
    server.memory()["memory"][field].as_f64().unwrap()
}

/// Seven megabytes of JSON that would be a hundred as a tree of values.
#[test]
fn a_json_body_takes_no_more_memory_than_its_bytes() {
    let server = Server::start(&[("UPLOAD_SECONDS", "300")]);
    let before = memory(&server, "peak_mb");
    let zeros = "0,".repeat(3 << 20);
    let body = format!("{{\"a\": [{zeros}0], \"image\": \"\"}}");
    let answer = server.post("/predict/", JSON, body.as_bytes());
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.error().contains("no picture"), "{}", answer.text());
    let grown = memory(&server, "peak_mb") - before;
    assert!(grown < 32.0, "{grown} MiB for {} bytes", body.len());
}

static HUGE_HEADER: std::sync::LazyLock<String> =
    std::sync::LazyLock::new(|| format!("{FORM}X-Long: {}\r\n", "h".repeat(40_000)));

/// Announced lengths occupy no memory: only the bytes that arrived do.
#[test]
fn stalled_uploads_do_not_stop_others() {
    let server = Server::start(&[("UPLOAD_SECONDS", "300"), ("ENABLE_GRADCAM", "false")]);
    let head = "POST /predict/ HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n\
                Content-Length: 4000000\r\n\r\nab";
    let mut stalled: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for stream in &mut stalled {
        stream.write_all(head.as_bytes()).unwrap();
    }
    let body = form(&[("image", true, &picture())]);
    assert_eq!(server.post("/predict/", FORM, &body).status, 200);
    // Slower than the minimum rate, long before UPLOAD_SECONDS.
    for stream in &mut stalled {
        let answer = read_answer(stream);
        assert_eq!(answer.status, 408, "{}", answer.text());
    }
    server.until("waiting", |waiting| *waiting == 0);
    assert_eq!(server.memory()["budget"]["uploads_mb"], 0.0);
}

/// Five thousand connections that are slow in five ways, from the address of a client that is not.
#[test]
fn slow_connections_do_not_keep_others_out() {
    common::raise_descriptors(5200);
    let server = Server::start(&[("MEMORY_BUDGET_MB", "96"), ("MAX_REQUESTS", "0")]);
    let body = form(&[("image", true, &picture())]);
    assert_eq!(server.post("/predict/", FORM, &body).status, 200);
    let mut slow = SlowClients::open(&server, 5000);
    assert!(slow.len() > 500, "too few descriptors: {}", slow.len());
    for _ in 0..20 {
        slow.trickle();
        let answer = server.post("/predict/", FORM, &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(server.get("/health/").status, 200);
    }
    // One that is kept open is not taken from its client between two requests.
    let mut kept = server.connect();
    for _ in 0..5 {
        slow.trickle();
        kept.write_all(b"GET /health/ HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert_eq!(read_answer(&mut kept).status, 200);
    }
    let memory = server.memory();
    assert!(memory["connections"].as_u64().unwrap() <= 1024, "{memory}");
    assert!(memory["memory"]["peak_mb"].as_f64().unwrap() < 96.0, "{memory}");
    drop((slow, kept));
    server.until("connections", |connections| *connections == 1);
    assert_eq!(server.memory()["budget"]["uploads_mb"], 0.0);
}

#[test]
fn a_body_that_never_comes_gets_408() {
    let server = Server::start(&[("UPLOAD_SECONDS", "1")]);
    let mut stream = server.connect();
    let head = "POST /predict/ HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n\
                Content-Length: 100000\r\n\r\nabc";
    stream.write_all(head.as_bytes()).unwrap();
    let answer = read_answer(&mut stream);
    assert_eq!(answer.status, 408, "{}", answer.text());
    assert!(answer.error().contains("in time"));
}

/// Chunks without a declared length are cut off at the limit.
fn chunked_without_end(server: &Server) {
    let mut stream = server.connect();
    let head = "POST /predict/ HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = [b"10000\r\n", &vec![b'x'; 0x10000][..], b"\r\n"].concat();
    for _ in 0..200 {
        if stream.write_all(&chunk).is_err() {
            break;
        }
    }
    let answer = read_answer(&mut stream);
    assert_eq!(answer.status, 413, "{}", answer.text());
}

/// Two pictures of 4 MiB in a form of no announced length: one buffer, and one limit for both.
fn two_large_pictures(server: &Server) {
    let mut stream = server.connect();
    let head =
        format!("POST /predict/ HTTP/1.1\r\nHost: x\r\n{FORM}Transfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let large = vec![b'x'; 4 << 20];
    let body = form(&[("image", true, &large), ("image", true, &large)]);
    for part in body.chunks(0x10000) {
        let chunk = [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
        if stream.write_all(&chunk).is_err() {
            break;
        }
    }
    let answer = read_answer(&mut stream);
    assert_eq!(answer.status, 413, "{}", answer.text());
}

fn gone_in_the_middle(server: &Server) {
    let whole = post_bytes("/predict/", FORM, &form(&[("image", true, &picture())]));
    for part in [10, 100, 400, whole.len() - 10] {
        let mut stream = server.connect();
        stream.write_all(&whole[..part]).unwrap();
        drop(stream);
    }
}

/// What is no HTTP at all is refused by the protocol layer: a 4xx without a body.
fn broken_protocol(server: &Server) {
    for request in [
        "NONSENSE\r\n\r\n".to_owned(),
        "POST /predict/ HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "h".repeat(200_000)),
    ] {
        let answer = server.raw(request.as_bytes());
        assert!((400..500).contains(&answer.status), "{}", answer.head);
    }
}
