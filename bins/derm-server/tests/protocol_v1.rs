//! KServe's protocol, version 1, which is also TensorFlow Serving's.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{Server, data, manifest, picture};
use serde_json::{Value, json};
use std::io::Read;

const MODEL: &str = "/v1/models/derm-lite0";

/// The status and the JSON of an answer.
fn post(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let url = format!("{}{path}", server.address());
    let mut answer = agent.post(url).send(body.to_string().as_bytes()).unwrap();
    let mut text = String::new();
    answer.body_mut().as_reader().read_to_string(&mut text).unwrap();
    (answer.status().as_u16(), serde_json::from_str(&text).unwrap())
}

fn instances(pictures: &[&[u8]]) -> Value {
    let instances: Vec<Value> =
        pictures.iter().map(|one| json!({"b64": STANDARD.encode(one)})).collect();
    json!({ "instances": instances })
}

#[test]
fn predict_gives_the_answers_of_predict_in_order() {
    let server = Server::start(&[]);
    let (first, second) = (picture(), data("full-chroma.jpg"));
    let alone = |bytes: &[u8]| {
        server.post("/predict/?gradcam=false", "Content-Type: image/jpeg\r\n", bytes).json()
    };
    let expected = [alone(&first), alone(&second), alone(&first)];
    let version = manifest("version");
    for path in [format!("{MODEL}:predict"), format!("{MODEL}/versions/{version}:predict")] {
        let (status, answer) = post(&server, &path, &instances(&[&first, &second, &first]));
        assert_eq!(status, 200, "{answer}");
        let predictions = answer["predictions"].as_array().unwrap();
        assert_eq!(predictions.len(), 3);
        for (found, expected) in predictions.iter().zip(&expected) {
            assert_eq!(found["label"], expected["results"][0]["class"]);
            let most =
                found["probabilities"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap());
            let percent = expected["results"][0]["probability"].as_f64().unwrap();
            assert!((most.fold(0.0, f64::max) * 100.0 - percent).abs() < 1e-3);
            assert_eq!(found["uncertain"], expected["uncertain"]);
        }
    }
}

#[test]
fn explain_gives_the_heatmaps_of_predict() {
    let server = Server::start(&[]);
    let bytes = picture();
    let expected =
        server.post("/predict/?class=mel", "Content-Type: image/jpeg\r\n", &bytes).json();
    let mut request = instances(&[&bytes]);
    request["parameters"] = json!({"class": "mel"});
    let (status, answer) = post(&server, &format!("{MODEL}:explain"), &request);
    assert_eq!(status, 200, "{answer}");
    let explanation = &answer["explanations"][0];
    assert_eq!(explanation["heatmaps"][0]["class"], "mel");
    assert_eq!(explanation["heatmaps"][0]["heatmap"], expected["heatmap"]);
    assert_eq!(explanation["label"], expected["results"][0]["class"]);
    let without = Server::start(&[("ENABLE_GRADCAM", "false")]);
    let (status, answer) = post(&without, &format!("{MODEL}:explain"), &request);
    assert!(status == 422 && answer["error"].as_str().unwrap().contains("ENABLE_GRADCAM"));
}

#[test]
fn a_bad_instance_fails_alone_and_the_only_one_fails_the_request() {
    let server = Server::start(&[]);
    let predict = format!("{MODEL}:predict");
    let (status, answer) = post(&server, &predict, &instances(&[b"no picture", &picture()]));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["predictions"][0]["status"], 415);
    assert!(answer["predictions"][1]["label"].is_string());
    assert_eq!(post(&server, &predict, &instances(&[b"no picture"])).0, 415);
    for body in [json!({"instances": []}), json!({"instances": [1.0]}), json!({}), json!([])] {
        let (status, answer) = post(&server, &predict, &body);
        assert!(status == 400 && answer["error"].is_string(), "{answer}");
    }
    assert_eq!(post(&server, "/v1/models/other:predict", &instances(&[b"x"])).0, 404);
    assert_eq!(server.get(&format!("{MODEL}:predict")).status, 405);
}

#[test]
fn models_are_listed_and_have_a_status() {
    let server = Server::start(&[("PRELOAD", "true")]);
    assert_eq!(server.get("/v1/models").json(), json!({"models": ["derm-lite0"]}));
    let status = server.get(MODEL).json();
    assert_eq!((&status["name"], &status["ready"]), (&json!("derm-lite0"), &json!(true)));
    assert_eq!(status["model_version_status"][0]["state"], "AVAILABLE");
    assert_eq!(server.get("/v1/models/other").status, 404);
}
