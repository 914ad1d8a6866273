//! Bodies of the standard protocols' requests. What the Rust types leave to the text of a body (`v2/types.rs`
//! reads its data in place) is said here; the server's own constants are used where there are some.

use super::bodies::{PIXEL, list, text};
use super::component;
use super::parameters::{json_properties_of, names_of_v1};
use crate::upload::MAX_PICTURES;
use crate::v2;
use derm::ElementType;
use serde_json::{Value, json};

/// The types that a graph's input may have.
const TYPES: [ElementType; 7] = {
    use ElementType::{F32, I8, I16, I32, I64, U8, U16};
    [F32, U8, I8, U16, I16, I32, I64]
};

/// Adds the bodies of V1 and V2.
pub(super) fn describe(document: &mut Value) {
    document["components"]["requestBodies"]["instances"] = instances();
    document["components"]["requestBodies"]["inference"] = inference();
    let paths = &mut document["paths"];
    for verb in ["predict", "explain"] {
        paths[format!("/v1/models/{{model}}:{verb}")]["post"]["requestBody"] =
            component("requestBodies", "instances");
    }
    let infer = &mut paths["/v2/models/{model}/infer"]["post"];
    infer["requestBody"] = component("requestBodies", "inference");
    infer["responses"]["200"]["content"]["application/octet-stream"] = json!({
        "schema": {
            "type": "string",
            "format": "binary",
            "description": "JSON of `Inference-Header-Content-Length` bytes, then the binary outputs in their order",
        },
        "example": "{\"model_name\": ...}...",
    });
    infer["responses"]["200"]["headers"]["Inference-Header-Content-Length"] = json!({
        "description": "Bytes of the answer that are JSON, where binary outputs follow",
        "schema": { "type": "integer", "minimum": 1 },
        "example": 192,
    });
    paths["/v2/repository/index"]["post"]["requestBody"] = json!({
        "required": false,
        "content": { "application/json": {
            "schema": {
                "type": ["object", "null"],
                "properties": { "ready": {
                    "type": ["boolean", "null"],
                    "description": "Only models that are ready",
                } },
            },
            "example": { "ready": true },
        } },
    });
}

/// An element of `instances`.
pub(super) fn instance() -> Value {
    let b64 = json!({ "type": "object", "required": ["b64"], "properties": { "b64": text() } });
    let only_field = json!({
        "type": "object",
        "required": ["image"],
        "properties": { "image": { "anyOf": [b64, text()] } },
        "additionalProperties": false,
    });
    json!({ "anyOf": [b64, only_field, text()] })
}

/// The body of V1.
fn instances() -> Value {
    let names = names_of_v1();
    let with = |name: &str| {
        let mut properties = json_properties_of(&names);
        properties.insert(name.to_owned(), list(&instance()));
        properties
            .insert("parameters".to_owned(), json!({ "properties": json_properties_of(&names) }));
        json!({ "type": "object", "required": [name], "properties": properties })
    };
    json!({
        "required": true,
        "content": { "application/json": {
            "schema": { "anyOf": [with("instances"), with("inputs")] },
            "examples": {
                "one": { "value": { "instances": [{ "b64": PIXEL }] } },
                "several, with parameters": { "value": {
                    "instances": [{ "b64": PIXEL }, { "image": { "b64": PIXEL } }],
                    "parameters": { "method": "layercam" },
                } },
            },
        } },
    })
}

/// The body of V2.
fn inference() -> Value {
    let encoded = json!({
        "type": "object",
        "description": "Image files as text",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": { "enum": [v2::IMAGE] },
            "datatype": { "enum": ["BYTES"] },
            "shape": {
                "type": "array",
                "minItems": 1,
                "maxItems": 2,
                "items": { "type": "integer", "minimum": 1, "maximum": MAX_PICTURES },
                "description": "`[n]` or `[n, 1]`, n the number of elements of `data`",
            },
            "data": list(&text()),
            "parameters": optional(json!({
                "binary_data_size": { "enum": [null], "description": "Only of binary data" },
            })),
        },
    });
    let types = TYPES.map(v2::datatype);
    let tensor = json!({
        "type": "object",
        "description": "What the graph itself reads, as the model's metadata describe it",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": { "type": "string", "format": "graph-input" },
            "datatype": { "enum": types },
            "shape": {
                "type": "array",
                "minItems": 4,
                "maxItems": 4,
                "items": { "type": "integer", "minimum": 1 },
                "description": "The first axis is the number of images, the others are those of the metadata",
            },
            "data": {
                "type": "array",
                "minItems": 1,
                "items": { "type": ["number", "array"] },
                "description": "Numbers, flat or nested; as many as the shape says",
            },
            "parameters": optional(json!({
                "binary_data_size": { "enum": [null], "description": "Only of binary data" },
            })),
        },
    });
    let pictures = request(&encoded, &["label", "ood_score", "heatmap", "overlay"]);
    let tensors = request(&tensor, &["label", "ood_score", "heatmap"]);
    json!({
        "required": true,
        "description": "JSON, JSON with binary data after it, or an image file. May be compressed (`Content-Encoding: gzip` or `deflate`).",
        "content": {
            "application/json": {
                "schema": { "anyOf": [pictures, tensors] },
                "examples": {
                    "image": { "value": {
                        "inputs": [{
                            "name": v2::IMAGE, "shape": [1], "datatype": "BYTES", "data": [PIXEL],
                        }],
                    } },
                    "heatmap of a class": { "value": {
                        "id": "7",
                        "parameters": { "class": "mel" },
                        "inputs": [{
                            "name": v2::IMAGE, "shape": [1], "datatype": "BYTES", "data": [PIXEL],
                        }],
                        "outputs": [{ "name": "heatmap" }, { "name": "probabilities", "parameters": { "classification": 3 } }],
                    } },
                },
            },
            "application/octet-stream": {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": "With a header length of 0 the file of one image; else so many bytes of JSON whose input has `binary_data_size`, and that many bytes",
                },
            },
        },
    })
}

/// A request with this input, where these outputs can be asked for beside those of classes.
fn request(input: &Value, outputs: &[&str]) -> Value {
    let is_binary = json!({
        "type": ["boolean", "null"],
        "description": "Whether it comes as binary data after the JSON",
    });
    let of_classes = json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": { "enum": ["probabilities", "logits"] },
            "parameters": optional(json!({
                "binary_data": is_binary,
                "classification": {
                    "type": ["integer", "null"],
                    "minimum": 0,
                    "description": "So many of the largest values come as `VALUE:INDEX:CLASS`; 0: all values",
                },
            })),
        },
    });
    let other = json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": { "enum": outputs },
            "parameters": optional(json!({
                "binary_data": is_binary,
                "classification": { "enum": [null, 0] },
            })),
        },
    });
    let mut parameters = json!(json_properties_of(&v2::PARAMETERS));
    // One class, which is explained of each image.
    parameters["class"] = json!({ "anyOf": [
        { "type": "string", "format": "class-id", "maxLength": 1024 },
        { "type": "integer", "minimum": 0, "description": "An index" },
        { "enum": [null, ""], "description": "As if it were not given" },
    ] });
    parameters["binary_data_output"] = json!({
        "type": ["boolean", "null"],
        "description": "Outputs come as binary data unless they say otherwise",
    });
    json!({
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": { "type": ["string", "null"], "description": "Comes back in the answer" },
            "parameters": optional(parameters),
            "inputs": { "type": "array", "minItems": 1, "maxItems": 1, "items": input },
            "outputs": {
                "type": ["array", "null"],
                "maxItems": v2::MOST,
                "items": { "anyOf": [of_classes, other] },
                "description": "What is answered; by default `probabilities`, `label` and `ood_score`, as far as the model has them",
            },
        },
    })
}

/// An object of parameters, which may be null. Others than these are ignored.
fn optional(properties: Value) -> Value {
    json!({ "type": ["object", "null"], "properties": properties })
}
