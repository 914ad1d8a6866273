//! OpenAPI: `openapi.json` of this crate, generated from the types that serve. Compiled for tests alone: the
//! server has the text.
//!
//! A new route gets a `utoipa::path` attribute and an entry in [`Api`], its types `utoipa::ToSchema`, its
//! errors a line in `errors.rs`; `DERM_WRITE=1 cargo test --workspace --lib openapi` writes the file.

mod bodies;
mod errors;
mod foreign;
mod parameters;
mod protocols;

pub(crate) use foreign::{
    Layout, LimitSource, MapRange, Predicted, Pressure, Region, Uncertainty, V1Explanations,
    V1Predictions,
};

use crate::error::ErrorBody;
use crate::{routes, v1, v2};
use serde_json::{Value, json};
use utoipa::OpenApi;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

/// What the types and the handlers say.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "derm-server",
        description = "Classifies images with an ONNX model and explains the results with heatmaps. \
                       Every path works with and without its trailing slash; every GET takes HEAD too. \
                       The results are a screening aid for education and research, never a diagnosis.",
    ),
    paths(
        routes::predict::predict,
        routes::model::model,
        routes::memory::memory,
        routes::metrics::metrics,
        routes::health::health,
        routes::probes::live,
        routes::probes::ready,
        routes::admin::reload,
        routes::openapi::document,
        routes::openapi::page,
        routes::page::index,
        v1::models,
        v1::status,
        v1::predict,
        v1::explain,
        v2::metadata::server,
        v2::metadata::live,
        v2::metadata::ready,
        v2::metadata::model,
        v2::metadata::config,
        v2::metadata::model_ready,
        v2::infer::infer,
        v2::repository::index,
        v2::repository::load,
        v2::repository::unload,
    ),
    components(schemas(ErrorBody)),
    tags(
        (name = "predictions", description = "An image in, classes and heatmaps out"),
        (name = "v2", description = "Open Inference Protocol V2 (KServe, Triton)"),
        (name = "v1", description = "KServe V1, TensorFlow Serving"),
        (name = "model", description = "What is served"),
        (name = "operations", description = "Probes, memory, metrics"),
        (name = "page", description = "The page for people"),
    ),
)]
struct Api;

/// The document: what the types say, with parameters, bodies, errors and examples.
fn document() -> Value {
    let mut document = serde_json::to_value(Api::openapi()).unwrap();
    document["info"]["license"] =
        json!({ "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" });
    document["info"].as_object_mut().unwrap().remove("contact");
    document["servers"] = json!([{ "url": "/" }]);
    document["components"]["securitySchemes"] = json!({
        "bearer": { "type": "http", "scheme": "bearer" },
        "apiKey": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
    });
    bodies::describe(&mut document);
    parameters::describe(&mut document);
    errors::describe(&mut document);
    headers(&mut document);
    for (path, method, operation) in operations(&mut document) {
        errors::refer(path, operation);
        secure(path, operation);
        operation["operationId"] = json!(operation_id(path, method));
    }
    // A path that names a model may name its version as well.
    let of_models = document["paths"].as_object().unwrap().clone().into_iter();
    for (path, mut same) in of_models
        .filter(|(path, _)| path.contains("/models/{model}") && !path.contains("/repository/"))
    {
        let path = path.replace("{model}", "{model}/versions/{version}");
        for (method, operation) in same.as_object_mut().unwrap() {
            operation["operationId"] = json!(operation_id(&path, method));
            let parameters = operation["parameters"].as_array_mut().unwrap();
            parameters.insert(1, component("parameters", "path.version"));
        }
        document["paths"][path] = same;
    }
    // The three are the same.
    let predict = document["paths"]["/predict/"].clone();
    for path in ["/upload/", "/upload/file/"] {
        let mut same = predict.clone();
        same["post"]["operationId"] = json!(operation_id(path, "post"));
        same["post"]["description"] = json!("The same as `/predict/`.");
        document["paths"][path] = same;
    }
    document
}

/// A reference to a component.
fn component(kind: &str, name: impl std::fmt::Display) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

/// A value, or the component that it refers to.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let reference = value["$ref"].as_str();
    reference.map_or(value, |reference| document.pointer(&reference[1..]).unwrap())
}

/// Path, method and operation of each.
fn operations(document: &mut Value) -> impl Iterator<Item = (&str, &str, &mut Value)> {
    let paths = document["paths"].as_object_mut().unwrap().iter_mut();
    paths.flat_map(|(path, item)| {
        let methods = item.as_object_mut().unwrap().iter_mut();
        methods.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

/// `getModel` of `GET /model/`.
fn operation_id(path: &str, method: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let capitals = words.map(|word| word[..1].to_uppercase() + &word[1..]);
    method.to_owned() + &capitals.collect::<String>()
}

/// Which key an operation needs.
fn secure(path: &str, operation: &mut Value) {
    operation["security"] = match path {
        "/admin/reload" => json!([{ "bearer": [] }, { "apiKey": [] }]),
        // Only where there is an ADMIN_KEY.
        path if path.starts_with("/v2/repository/models") => {
            json!([{}, { "bearer": [] }, { "apiKey": [] }])
        }
        path if crate::access::is_open(path.strip_suffix('/').unwrap_or(path)) => json!([]),
        // Only where API_KEYS_FILE is set.
        _ => json!([{}, { "bearer": [] }, { "apiKey": [] }]),
    };
}

/// The headers that answers have.
fn headers(document: &mut Value) {
    let text = |description: &str, example: &str| json!({ "description": description, "schema": { "type": "string" }, "example": example });
    document["components"]["headers"] = json!({
        "X-Request-Id": text("The client's own id, or a new one; it is in the log", "3f2a9c0d51e7b864"),
        "Server-Timing": text("`latency_ms` for a browser's developer tools", "decode;dur=3.1, infer;dur=14.2"),
    });
    let id = component("headers", "X-Request-Id");
    for (path, _, operation) in operations(document) {
        for response in operation["responses"].as_object_mut().unwrap().values_mut() {
            response["headers"]["X-Request-Id"] = id.clone();
        }
        if path == "/predict/" {
            operation["responses"]["200"]["headers"]["Server-Timing"] =
                component("headers", "Server-Timing");
        }
    }
    for response in document["components"]["responses"].as_object_mut().unwrap().values_mut() {
        response["headers"] = json!({ "X-Request-Id": id });
    }
}

#[test]
fn the_file_is_what_the_types_say() {
    let document = document();
    if std::env::var_os("DERM_WRITE").is_some() {
        let text = serde_json::to_string_pretty(&document).unwrap() + "\n";
        std::fs::write(FILE, text).unwrap();
    }
    let file: Value = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    let changed = "the types have changed: DERM_WRITE=1 cargo test --workspace --lib openapi";
    assert!(file == document, "{changed}");
}

#[test]
fn every_route_is_described() {
    let document = document();
    let paths = document["paths"].as_object().unwrap().keys();
    let described: Vec<&str> = paths
        .map(|path| path.trim_end_matches('/'))
        .filter(|path| !path.starts_with("/v1") && !path.starts_with("/v2"))
        .collect();
    let source = include_str!("../routes/mod.rs");
    // Every text that begins with a slash is a path.
    let registered = source.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/'));
    let (mut count, of_the_page) = (0, ["/style.css", "/app.js", "/api.js", "/example.jpg"]);
    for path in registered.filter(|path| !of_the_page.contains(path)) {
        assert!(described.contains(&path.trim_end_matches('/')), "{path} is not in {described:?}");
        count += 1;
    }
    assert!(count >= described.len(), "{count} routes, {described:?}");
}

/// The routes that headings and the first cells of tables of docs/api.md name: a method and a path, or a further
/// path of the same method. `M` and `V` stand for a model and its version.
fn documented_routes(docs: &str) -> Vec<(String, String)> {
    let mut routes = Vec::new();
    for line in docs.lines() {
        let Some(named) =
            line.strip_prefix("## ").or_else(|| line.strip_prefix("| ")?.split('|').next())
        else {
            continue;
        };
        let mut method = None;
        for code in named.split('`').skip(1).step_by(2) {
            let (given, path) = code.split_once(' ').unwrap_or(("", code));
            if matches!(given, "GET" | "POST") {
                method = Some(given);
            }
            let Some(method) = method.filter(|_| path.starts_with('/')) else { continue };
            let path = path.replace("/M", "/{model}").replace("/V", "/{version}");
            routes.push((method.to_lowercase(), path.trim_end_matches('/').to_owned()));
        }
    }
    routes
}

#[test]
fn docs_and_document_have_the_same_routes() {
    let mut document = document();
    let docs = include_str!("../../../../docs/api.md");
    let mut documented = documented_routes(docs);
    let mut described: Vec<(String, String)> = operations(&mut document)
        // The pages for people.
        .filter(|(path, ..)| !["/", "/docs/"].contains(path))
        .map(|(path, method, _)| {
            let path = path.replace("/versions/{version}", "");
            (method.to_owned(), path.trim_end_matches('/').to_owned())
        })
        .collect();
    documented.sort_unstable();
    described.sort_unstable();
    described.dedup();
    assert_eq!(documented, described);
    assert!(docs.contains("`/versions/V`") && docs.contains("`GET /docs/`"));
}

#[test]
fn every_field_of_an_answer_is_in_the_docs() {
    let document = document();
    let docs = include_str!("../../../../docs/api.md");
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words: std::collections::BTreeSet<&str> = docs.split(|c| !is_part(c)).collect();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for (schema, described) in schemas {
        for name in described["properties"].as_object().into_iter().flat_map(|fields| fields.keys())
        {
            assert!(words.contains(name.as_str()), "`{name}` of {schema} is not in docs/api.md");
        }
    }
}

#[test]
fn everything_has_an_example() {
    let document = document();
    for (path, method, operation) in operations(&mut document.clone()) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let content = resolved(&document, response)["content"].as_object();
            for (kind, body) in content.into_iter().flatten() {
                let has = body.get("example").is_some() || body.get("examples").is_some();
                assert!(has, "{method} {path} {status} {kind} has no example");
            }
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let parameter = resolved(&document, parameter);
            assert!(!parameter["example"].is_null(), "{parameter} has no example");
            assert!(parameter["description"].is_string(), "{parameter} is not described");
        }
    }
}
