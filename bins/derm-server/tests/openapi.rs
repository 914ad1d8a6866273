//! `/openapi.json` against the server: real answers are as it describes them, and tools find nothing.

#![allow(clippy::unwrap_used, missing_docs, clippy::print_stderr)]

mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{Answer, FORM, Server, form, manifest, picture, python_with};
use serde_json::{Value, json};
use std::process::Command;

const KEY: &str = "correct-horse-battery";

fn document(server: &Server) -> Value {
    let answer = server.get("/openapi.json");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    answer.json()
}

/// Holds a value against a schema: every field is described, and every one that is required is there.
fn check(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        return check(document, document.pointer(&reference[1..]).unwrap(), value);
    }
    if let Some(all) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        let faults: Vec<String> =
            all.iter().filter_map(|one| check(document, one, value).err()).collect();
        return if faults.len() < all.len() { Ok(()) } else { Err(faults.join("; or ")) };
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        none => return Err(format!("type {none} in {schema}")),
    };
    let fits = types.contains(&kind) || (kind == "integer" && types.contains(&"number"));
    if !fits {
        return Err(format!("{value} is not {types:?}"));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return Err(format!("{value} is not one of {allowed:?}"));
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        let described = schema["properties"].get(name).or(schema.get("additionalProperties"));
        let described = described.ok_or_else(|| format!("{name} is not described"))?;
        check(document, described, field).map_err(|fault| format!("{name}: {fault}"))?;
    }
    if value.is_object() {
        for name in schema["required"].as_array().into_iter().flatten() {
            if value.get(name.as_str().unwrap()).is_none() {
                return Err(format!("{name} is missing"));
            }
        }
    }
    value
        .as_array()
        .into_iter()
        .flatten()
        .try_for_each(|item| check(document, &schema["items"], item))
}

/// Holds an answer against what is described for its path, method and status.
fn hold(document: &Value, path: &str, method: &str, answer: &Answer) {
    let response = &document["paths"][path][method]["responses"][answer.status.to_string()];
    let component = response["$ref"].as_str().map(|reference| &reference[1..]);
    let response = component.map_or(response, |name| document.pointer(name).unwrap());
    let content = &response["content"]["application/json"];
    assert!(content.is_object(), "{method} {path} {} is not described", answer.status);
    check(document, &content["schema"], &answer.json())
        .unwrap_or_else(|fault| panic!("{method} {path}: {fault}\n{}", answer.text()));
    let examples = content["examples"].as_object().into_iter().flat_map(|map| map.values());
    for example in examples.map(|one| &one["value"]).chain(content.get("example")) {
        check(document, &content["schema"], example).unwrap();
    }
}

#[test]
fn answers_are_as_described() {
    let server = Server::start(&[("ADMIN_KEY", KEY)]);
    let document = document(&server);
    for query in [
        "",
        "gradcam=false&top_k=2",
        "class=mel,nv&output=json",
        "output=npy&method=layercam",
        "top_k=0",
        "class=none",
    ] {
        let body = form(&[("image", true, &picture())]);
        let answer = server.post(&format!("/predict/?{query}"), FORM, &body);
        hold(&document, "/predict/", "post", &answer);
        hold(&document, "/upload/", "post", &answer);
    }
    let cut = server.post("/predict/", "Content-Type: image/png\r\n", b"\x89PNG\r\n\x1a\nno");
    hold(&document, "/predict/", "post", &cut);
    hold(&document, "/predict/", "post", &server.post("/predict/", FORM, &form(&[])));
    hold(&document, "/predict/", "post", &server.get("/predict/"));
    hold(&document, "/model/", "get", &server.get("/model/"));
    hold(&document, "/memory/", "get", &server.get("/memory/"));
    hold(&document, "/admin/reload", "post", &server.post("/admin/reload", "", b""));
    let key = format!("X-API-Key: {KEY}\r\n");
    hold(&document, "/admin/reload", "post", &server.post("/admin/reload", &key, b""));
    let put = b"PUT /admin/reload HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    hold(&document, "/admin/reload", "post", &server.raw(put));
}

/// A request of V2 for two pictures, of which the second cannot be read, with these outputs.
fn inference(outputs: &Value) -> Vec<u8> {
    let data = [STANDARD.encode(picture()), STANDARD.encode("no picture")];
    let input = json!({ "name": "image", "shape": [2], "datatype": "BYTES", "data": data });
    json!({ "id": "7", "inputs": [input], "outputs": outputs }).to_string().into_bytes()
}

#[test]
fn answers_of_the_standard_protocols_are_as_described() {
    let server = Server::start(&[("ADMIN_KEY", KEY)]);
    let document = document(&server);
    let get = |path: &str| hold(&document, path, "get", &server.get(&real(path)));
    let post = |path: &str, body: &[u8]| {
        let answer = server.post(&real(path), "", body);
        hold(&document, path, "post", &answer);
        answer.status
    };
    for model in ["/v1/models/{model}", "/v1/models/{model}/versions/{version}"] {
        let (good, bad) = (STANDARD.encode(picture()), STANDARD.encode("no picture"));
        let both = json!({ "instances": [{ "b64": good }, { "b64": bad }] }).to_string();
        for verb in ["predict", "explain"] {
            let path = format!("{model}:{verb}");
            assert_eq!(post(&path, both.as_bytes()), 200);
            assert_eq!(post(&path, b"{}"), 400);
        }
        get(model);
    }
    for path in ["/v1/models", "/v2", "/v2/health/live", "/v2/health/ready"] {
        get(path);
    }
    for model in ["/v2/models/{model}", "/v2/models/{model}/versions/{version}"] {
        for below in ["", "/config", "/ready"] {
            get(&format!("{model}{below}"));
        }
        let infer = format!("{model}/infer");
        for outputs in [
            json!(null),
            json!([{ "name": "heatmap" }, { "name": "overlay" }, { "name": "logits" }]),
            json!([{ "name": "probabilities", "parameters": { "classification": 2 } }]),
        ] {
            assert_eq!(post(&infer, &inference(&outputs)), 200);
        }
        assert_eq!(post(&infer, &inference(&json!([{ "name": "x" }]))), 400);
    }
    assert_eq!(post("/v2/repository/index", b""), 200);
    assert_eq!(post("/v2/repository/index", b"[true]"), 400);
    for path in ["/v2/repository/models/{model}/unload", "/v2/repository/models/{model}/load"] {
        assert_eq!(post(path, b""), 401);
        let done = server.post(&real(path), &format!("X-API-Key: {KEY}\r\n"), b"");
        assert!(done.status == 200 && done.body.is_empty(), "{path}");
        assert!(document["paths"][path]["post"]["responses"]["200"].get("content").is_none());
    }
    // A model that is not loaded, and one that does not exist.
    assert_eq!(
        server
            .post(
                &real("/v2/repository/models/{model}/unload"),
                &format!("X-API-Key: {KEY}\r\n"),
                b""
            )
            .status,
        200
    );
    get("/v2/models/{model}/ready");
    get("/v1/models/{model}");
    hold(&document, "/v2/models/{model}", "get", &server.get("/v2/models/other"));
}

/// A path with the names of the bundled model in it.
fn real(path: &str) -> String {
    path.replace("{model}", "derm-lite0").replace("{version}", manifest("version"))
}

#[test]
fn every_described_path_is_there() {
    let server = Server::start(&[("ADMIN_KEY", KEY)]);
    let document = document(&server);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let request = format!(
                "{} {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                method.to_uppercase(),
                real(path)
            );
            let answer = server.raw(request.as_bytes());
            assert!(![404, 405].contains(&answer.status), "{method} {path}: {}", answer.status);
            let described = &item[method]["responses"];
            assert!(described.get(answer.status.to_string()).is_some(), "{path} {}", answer.status);
        }
    }
}

#[test]
fn the_validator_of_openapi_finds_nothing() {
    let imports = "import openapi_spec_validator";
    let Some(python) = python_with(imports) else {
        eprintln!(
            "SKIPPED: openapi-spec-validator: DERM_PYTHON names no Python that can `{imports}`"
        );
        return;
    };
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let output =
        Command::new(python).args(["-m", "openapi_spec_validator", file]).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// All checks, of a few requests for each operation, the same ones each time. `DERM_SCHEMATHESIS_EXAMPLES`: so many
/// instead; with it, every bound of every parameter is tried, sequences of operations are, and the two other paths
/// of predictions are asked as well.
#[test]
fn schemathesis_finds_nothing() {
    let imports = "import schemathesis";
    let Some(python) = python_with(imports) else {
        eprintln!("SKIPPED: schemathesis: DERM_PYTHON names no Python that can `{imports}`");
        return;
    };
    // However slow the machine is.
    let server = Server::start(&[("ADMIN_KEY", KEY), ("TIMEOUT", "300")]);
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemathesis");
    let examples = std::env::var("DERM_SCHEMATHESIS_EXAMPLES").ok();
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(python.with_file_name("schemathesis"));
    command.args(["--config-file", &format!("{tests}/schemathesis.toml"), "run"]);
    if examples.is_none() {
        command.args(["--exclude-path", "/upload/", "--exclude-path", "/upload/file/"]);
        command.args(["--phases", "examples,fuzzing"]);
    }
    let output = command
        .args([&format!("{}/openapi.json", server.address()), "--checks", "all"])
        .args(["--max-examples", examples.as_deref().unwrap_or("5"), "--seed", "1"])
        .args(["--generation-database", "none", "--request-timeout", "300"])
        .env("ADMIN_KEY", KEY)
        .args(["--suppress-health-check", "all", "--no-color", "--workers", "2"])
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("MODEL_VERSION", manifest("version"))
        .env("PYTHONPATH", tests)
        .env(
            "PICTURES",
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/derm-preprocess/tests/data"),
        )
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
}
