//! `/metrics`: what is counted, who may read it, and on which port.

#![allow(clippy::unwrap_used, missing_docs, clippy::print_stderr)]

mod common;

use common::{Answer, Exposition, FORM, Server, data, form, free_port, picture, read_answer};
use std::io::Write;
use std::net::TcpStream;

const MODEL: &str = r#"model="derm-lite0""#;

fn predict(server: &Server, query: &str) -> Answer {
    let body = form(&[("image", true, &picture())]);
    server.post(&format!("/predict/?{query}"), FORM, &body)
}

#[test]
fn predictions_are_counted_by_class_and_timed_by_step() {
    let server = Server::start(&[]);
    let before = Exposition::of(&server);
    assert_eq!(before.get(&format!("derm_model_loads_total{{{MODEL}}}")), Some(0.0));
    assert_eq!(before.get(&format!("derm_model_loaded{{{MODEL}}}")), Some(0.0));
    let answers = [predict(&server, ""), predict(&server, "gradcam=false")].map(|a| a.json());
    let after = Exposition::of(&server);
    let count = |name: &str, labels: &str| after.get(&format!("{name}{{{labels}}}"));

    let class = answers[0]["results"][0]["class"].as_str().unwrap();
    // Labels are in alphabetical order.
    let of_class = count("derm_predictions_total", &format!(r#"class="{class}",{MODEL}"#));
    assert_eq!(of_class, Some(2.0), "{}", after.text);
    assert_eq!(after.sum("derm_predictions_total"), (2.0, 1));
    let uncertain = answers.iter().filter(|answer| answer["uncertain"] == true).count();
    let counted = count("derm_uncertain_predictions_total", MODEL);
    assert_eq!(counted, Some(uncertain as f64));
    assert_eq!(count("derm_ood_score_excess_ratio_count", MODEL), Some(2.0));
    let (score, threshold) =
        (answers[0]["ood"]["score"].as_f64(), answers[0]["ood"]["threshold"].as_f64());
    let excess = 2.0 * (score.unwrap() / threshold.unwrap() - 1.0);
    let sum = count("derm_ood_score_excess_ratio_sum", MODEL).unwrap();
    assert!((sum - excess).abs() < 1e-5, "{sum}, not {excess}");

    let steps = [("queue", 2), ("decode", 2), ("infer", 2), ("explain", 1), ("render", 1)];
    for (step, times) in steps {
        let labels = format!(r#"{MODEL},step="{step}""#);
        let counted = count("derm_step_duration_seconds_count", &labels);
        assert_eq!(counted, Some(f64::from(times)), "{step} in {}", after.text);
    }
    let infer: f64 = answers.iter().map(|a| a["latency_ms"]["infer"].as_f64().unwrap()).sum();
    let seconds = count("derm_step_duration_seconds_sum", &format!(r#"{MODEL},step="infer""#));
    assert!((seconds.unwrap() - infer / 1e3).abs() < 1e-5, "seconds, not milliseconds");
    let (steps, _) = after.sum("derm_step_duration_seconds_sum");
    let (total, _) = after.sum("derm_prediction_duration_seconds_sum");
    assert!((steps - total).abs() < 1e-6, "{steps} {total}");

    assert_eq!(count("derm_model_loads_total", MODEL), Some(1.0));
    assert!(count("derm_model_load_seconds_total", MODEL).unwrap() > 0.0);
    assert!(count("derm_model_weights_bytes", MODEL).unwrap() > 1e6);
    let digest = answers[0]["model"]["digest"].as_str().unwrap();
    let version = answers[0]["model"]["version"].as_str().unwrap();
    let info = format!(r#"digest="{digest}",{MODEL},version="{version}""#);
    assert_eq!(count("derm_model_info", &info), Some(1.0), "{}", after.text);
    let rss = after.get("process_resident_memory_bytes").unwrap();
    assert!(rss > 1e6 && rss < after.get("derm_memory_limit_bytes").unwrap());
}

#[test]
fn requests_are_counted_by_the_pattern_of_their_route_and_refusals_by_reason() {
    let server = Server::start(&[]);
    for number in 0..20 {
        assert_eq!(server.get(&format!("/nothing/{number}")).status, 404);
    }
    for path in ["/health", "/health/", "/livez"] {
        assert_eq!(server.get(path).status, 200);
    }
    assert_eq!(server.get("/predict/").status, 405);
    assert_eq!(predict(&server, "top_k=0").status, 422);
    let page = format!("{FORM}Accept: text/html\r\n");
    assert_eq!(server.post("/upload/", &page, &form(&[])).status, 400);
    let zip = server.post("/predict/", "Content-Type: application/zip\r\n", &data("baseline.jpg"));
    assert_eq!(zip.status, 415);
    // Refused before its body is sent.
    let early = b"POST /predict/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\
                  Content-Type: image/jpeg\r\nContent-Length: 99999999\r\n\r\n";
    assert_eq!(server.raw(early).status, 413);
    let large = format!("GET /health/ HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    assert_eq!(server.raw(large.as_bytes()).status, 431);

    let metrics = Exposition::of(&server);
    let requests = |route: &str, status: u16| {
        metrics.get(&format!(r#"derm_http_requests_total{{route="{route}",status="{status}"}}"#))
    };
    assert_eq!(requests("other", 404), Some(20.0), "{}", metrics.text);
    assert_eq!(requests("/health", 200), Some(2.0));
    assert_eq!(requests("/predict", 405), Some(1.0));
    assert_eq!(requests("/predict", 422), Some(1.0));
    assert_eq!(requests("/upload", 400), Some(1.0));
    assert!(!metrics.text.contains("nothing"), "a path became a label");
    for (reason, times) in [
        ("not_found", 20),
        ("method_not_allowed", 1),
        ("parameter", 1),
        ("bad_request", 1),
        ("unsupported_media_type", 1),
        ("upload_too_large", 1),
        ("headers_too_large", 1),
        ("busy", 0),
        ("internal", 0),
    ] {
        let counted = metrics.get(&format!(r#"derm_refusals_total{{reason="{reason}"}}"#));
        assert_eq!(counted, Some(f64::from(times)), "{reason} in {}", metrics.text);
    }
}

#[test]
fn metrics_need_a_key_where_predictions_do() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    // `printf %s correct-horse-battery | sha256sum`
    let hash = "62249369389075490555a758353aec61500c6218fa597252d52dc4bd0148f12d";
    writeln!(file, "prometheus:{hash}").unwrap();
    let server = Server::start(&[("API_KEYS_FILE", file.path().to_str().unwrap())]);
    assert_eq!(server.get("/metrics").status, 401);
    let with_key = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                     Authorization: Bearer correct-horse-battery\r\n\r\n";
    let answer = server.raw(with_key);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("Content-Type"), Some("text/plain; version=0.0.4"));
}

#[test]
fn metrics_port_answers_metrics_only_and_the_other_port_no_longer_does() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "clinic:{}", "0".repeat(64)).unwrap();
    let port = free_port();
    let environment = [
        ("METRICS_PORT", port.to_string()),
        ("API_KEYS_FILE", file.path().to_str().unwrap().to_owned()),
        ("MAX_CONNECTIONS", "8".to_owned()),
    ];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let server = Server::start(&environment);
    let get = |path: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        read_answer(&mut stream)
    };
    let metrics = Exposition::read(&get("/metrics"));
    assert_eq!(metrics.get("derm_connections_limit"), Some(8.0));
    assert_eq!(get("/metrics/").status, 200);
    for path in ["/memory/", "/predict/", "/", "/admin/reload"] {
        assert_eq!(get(path).status, 404, "{path}");
    }
    // Idle connections to that port keep no scrape out, and take no place of the other port's.
    let idle: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    let metrics = Exposition::read(&get("/metrics"));
    assert_eq!(metrics.get("derm_connections"), Some(0.0));
    assert_eq!(server.get("/health/").status, 200);
    drop(idle);
    assert_eq!(server.get("/metrics").status, 401, "a key is asked for first");
    let open = Server::start(&[("METRICS_PORT", "0")]);
    assert_eq!(open.get("/metrics").status, 404);
}
