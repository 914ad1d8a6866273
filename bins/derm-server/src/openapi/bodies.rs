//! Bodies of requests and answers, with examples.

use super::errors::page;
use super::parameters::{json_properties, properties};
use serde_json::{Map, Value, json};

/// A PNG of one pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// The types of image that a raw body may have.
const IMAGES: [&str; 7] = [
    "image/jpeg",
    "image/png",
    "image/webp",
    "image/gif",
    "image/bmp",
    "image/tiff",
    "application/octet-stream",
];

/// Adds the bodies that the handlers read and examples of those that they send.
pub(super) fn describe(document: &mut Value) {
    document["paths"]["/predict/"]["post"]["requestBody"] = picture();
    let contents = &mut document["paths"]["/predict/"]["post"]["responses"]["200"]["content"];
    contents["text/html"] = page();
    let examples = include_str!("examples.json");
    let examples: Map<String, Value> = serde_json::from_str(examples).unwrap();
    for (path, example) in examples {
        for (_, method) in document["paths"][&path].as_object_mut().unwrap() {
            let contents = method["responses"]["200"]["content"].as_object_mut().unwrap();
            let first = contents.keys().next().unwrap().clone();
            contents[&first]["example"] = example.clone();
        }
    }
}

/// The image, in any of the ways in which it can be sent.
fn picture() -> Value {
    let text = || {
        json!({
            "type": "string",
            "format": "byte",
            "minLength": 1,
            "contentEncoding": "base64",
            "description": "Base64 of an image file, or a data URL",
        })
    };
    let file = json!({ "type": "string", "format": "binary", "description": "An image file" });
    let beside = |name: &str, image: Value, mut properties: Map<String, Value>| {
        properties.insert(name.to_owned(), image);
        json!({ "type": "object", "required": [name], "properties": properties })
    };
    let instance =
        json!({ "type": "object", "required": ["b64"], "properties": { "b64": text() } });
    let instances = json!({ "type": "array", "minItems": 1, "maxItems": 1, "items": instance });
    let mut inputs = json!({
        "type": "object",
        "required": ["inputs"],
        "properties": { "inputs": text(), "parameters": { "properties": json_properties() } },
    });
    inputs["description"] = json!("As Hugging Face's clients send it");
    let mut served = beside("instances", instances, json_properties());
    served["description"] = json!("As TensorFlow Serving's clients send it");
    let mut content = json!({
        "multipart/form-data": { "schema": beside("image", file.clone(), properties()) },
        "application/x-www-form-urlencoded": {
            "schema": beside("image", text(), properties()),
            "example": { "image": format!("data:image/png;base64,{PIXEL}"), "top_k": 3 },
        },
        "application/json": {
            "schema": { "anyOf": [beside("image", text(), json_properties()), served, inputs] },
            "examples": {
                "image": { "value": { "image": PIXEL, "top_k": 3, "gradcam": false } },
                "TensorFlow Serving": { "value": { "instances": [{ "b64": PIXEL }] } },
                "Hugging Face": { "value": { "inputs": PIXEL, "parameters": { "top_k": 1 } } },
            },
        },
    });
    for kind in IMAGES {
        content[kind] = json!({ "schema": file });
    }
    json!({
        "required": true,
        "description": "One image. May be compressed (`Content-Encoding: gzip` or `deflate`).",
        "content": content,
    })
}
