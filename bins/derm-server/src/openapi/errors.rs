//! Errors of each operation: their texts are the server's own.

use super::component;
use crate::error::{ApiError, ErrorBody};
use actix_web::ResponseError;
use derm::Task;
use serde_json::{Map, Value, json};

/// An example of each error that a request can get.
fn samples() -> Vec<ApiError> {
    vec![
        ApiError::BadRequest("there is no picture in the request".to_owned()),
        ApiError::NotFound,
        ApiError::UnknownModel("\"derm-v9\"".to_owned()),
        ApiError::MethodNotAllowed { method: "PUT".to_owned(), allowed: "POST" },
        ApiError::UploadTooSlow,
        ApiError::UploadTooLarge(5_242_880),
        ApiError::UnsupportedMediaType("application/zip is not a picture".to_owned()),
        ApiError::Encoding("br".to_owned()),
        ApiError::Parameter {
            name: "top_k".to_owned(),
            reason: "`0` is not valid: give a whole number from 1".to_owned(),
        },
        ApiError::Unauthorized,
        ApiError::TooManyRequests { seconds: 7 },
        ApiError::HeadersTooLarge(16_384),
        ApiError::OverBudget { needed: 90_000_000, budget: 30_000_000 },
        ApiError::ModelTooLarge {
            model: "derm-v2-s".to_owned(),
            needed: 61_000_000,
            available: 43_000_000,
            pinned: 0,
        },
        ApiError::Busy("the server was busy for too long"),
        ApiError::ShuttingDown,
        ApiError::TimeLimit { task: Task::Explanation, seconds: 300 },
        ApiError::Model("the file is not an ONNX model".to_owned()),
        ApiError::Internal,
        ApiError::Picture(derm::PictureError::UnknownFormat),
    ]
}

/// The statuses of an inference whose path names the model.
const OF_INFERENCE: &[u16] = &[400, 401, 404, 405, 408, 413, 415, 422, 429, 431, 500, 503];

/// The statuses that an operation can answer with beside its success.
fn statuses(path: &str) -> &'static [u16] {
    match path {
        "/predict/" => &[400, 401, 405, 408, 413, 415, 422, 429, 431, 500, 503],
        "/model/" => &[400, 401, 405, 422, 429, 431, 500, 503],
        "/memory/" => &[401, 405, 429, 431],
        "/metrics" => &[401, 404, 405, 429, 431, 500],
        path if path.ends_with(":predict") || path.ends_with(":explain") => OF_INFERENCE,
        "/v2/models/{model}/infer" => OF_INFERENCE,
        "/v2" | "/v1/models" => &[401, 405, 429, 431],
        // Their 503 is not an error.
        "/v1/models/{model}" | "/v2/models/{model}/ready" => &[401, 404, 405, 429, 431],
        "/v2/models/{model}" | "/v2/models/{model}/config" => &[401, 404, 405, 429, 431, 500, 503],
        "/v2/repository/index" => &[400, 401, 405, 408, 413, 415, 429, 431, 503],
        path if path.starts_with("/v2/repository/models") => &[401, 404, 405, 429, 431, 500, 503],
        "/admin/reload" => &[400, 401, 404, 405, 422, 431, 500, 503],
        "/readyz" => &[405, 431, 503],
        _ => &[405, 431],
    }
}

/// Refers to the errors that an operation can answer with.
pub(super) fn refer(path: &str, operation: &mut Value) {
    for status in statuses(path) {
        operation["responses"][status.to_string()] = component("responses", status);
    }
}

/// Adds the errors of each status, each with its text as example.
pub(super) fn describe(document: &mut Value) {
    for &status in statuses("/predict/").iter().chain(statuses("/admin/reload")) {
        let of_status: Vec<ApiError> =
            samples().into_iter().filter(|error| error.status_code().as_u16() == status).collect();
        let mut examples = Map::new();
        for error in &of_status {
            let value = json!(ErrorBody { error: error.to_string() });
            let name = match error {
                ApiError::Encoding(_) => "content_encoding",
                ApiError::UnknownModel(_) => "unknown_model",
                ApiError::ModelTooLarge { .. } => "model_too_large",
                error => error.reason().0,
            };
            examples.insert(name.to_owned(), json!({ "value": value }));
        }
        let mut reasons: Vec<&str> = of_status.iter().map(|error| error.reason().0).collect();
        reasons.dedup();
        let json = json!({ "schema": component("schemas", "Error"), "examples": examples });
        document["components"]["responses"][status.to_string()] = json!({
            "description": reasons.join(", "),
            // A page for browsers.
            "content": { "application/json": json, "text/html": page() },
        });
    }
}

/// What a browser gets in place of JSON.
pub(super) fn page() -> Value {
    json!({ "schema": { "type": "string" }, "example": "<!doctype html>..." })
}

#[test]
fn every_reason_has_an_example() {
    let mut reasons: Vec<&str> = samples().iter().map(|error| error.reason().0).collect();
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons, ApiError::REASONS);
}
