//! Bodies of requests and answers, with examples.

use super::component;
use super::errors::page;
use super::parameters::{json_properties, properties};
use super::protocols;
use crate::upload::MAX_PICTURES;
use serde_json::{Map, Value, json};

/// A PNG of one pixel.
pub(super) const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

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
    document["components"]["requestBodies"]["pictures"] = pictures();
    document["paths"]["/predict/"]["post"]["requestBody"] = component("requestBodies", "pictures");
    let contents = &mut document["paths"]["/predict/"]["post"]["responses"]["200"]["content"];
    contents["text/html"] = page();
    protocols::describe(document);
    let examples: Map<String, Value> = serde_json::from_str(include_str!("examples.json")).unwrap();
    for (key, example) in examples {
        // An example of a success, unless the key begins with another status.
        let (status, path) = key.split_once(' ').unwrap_or(("200", &key));
        for (_, method) in document["paths"][path].as_object_mut().unwrap() {
            let contents = method["responses"][status]["content"].as_object_mut().unwrap();
            let first = contents.keys().next().unwrap().clone();
            contents[&first]["example"] = example.clone();
        }
    }
}

/// An image as text.
pub(super) fn text() -> Value {
    json!({
        "type": "string",
        "format": "byte",
        "minLength": 1,
        "contentEncoding": "base64",
        "description": "Base64 of an image file, or a data URL",
    })
}

/// A list of several images; one that cannot be used fails alone.
pub(super) fn list(image: &Value) -> Value {
    json!({ "type": "array", "minItems": 1, "maxItems": MAX_PICTURES, "items": image })
}

/// The images, in any of the ways in which they can be sent.
fn pictures() -> Value {
    let file = json!({ "type": "string", "format": "binary", "description": "An image file" });
    let one_or_several = |image: &Value| json!({ "anyOf": [image, list(image)] });
    let beside = |name: &str, image: Value, mut properties: Map<String, Value>| {
        properties.insert(name.to_owned(), image);
        json!({ "type": "object", "required": [name], "properties": properties })
    };
    let mut inputs = json!({
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "inputs": one_or_several(&text()),
            "parameters": { "properties": json_properties() },
        },
    });
    inputs["description"] = json!("As Hugging Face's clients send it");
    let mut served = beside("instances", list(&protocols::instance()), json_properties());
    served["description"] = json!("As TensorFlow Serving's clients send it");
    let image = beside("image", one_or_several(&text()), json_properties());
    let mut form = beside("image", one_or_several(&file), properties());
    // Names are in headers of the parts.
    form["propertyNames"] = json!({ "pattern": "^[^\\x00-\\x1f\\x7f]*$" });
    let mut content = json!({
        "multipart/form-data": { "schema": form },
        "application/x-www-form-urlencoded": {
            "schema": beside("image", text(), properties()),
            "example": { "image": format!("data:image/png;base64,{PIXEL}"), "top_k": 3 },
        },
        "application/json": {
            "schema": { "anyOf": [image, served, inputs] },
            "examples": {
                "image": { "value": { "image": PIXEL, "top_k": 3, "gradcam": false } },
                "several images": { "value": { "image": [PIXEL, PIXEL], "top_k": 1 } },
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
        "description": "One image or several. May be compressed (`Content-Encoding: gzip` or `deflate`).",
        "content": content,
    })
}
