//! Parameters of a prediction, in the query, the form and the JSON object.

use super::component;
use derm::Method;
use serde_json::{Map, Value, json};

/// A parameter: its name, schema, an example, and what it means.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) schema: Value,
    example: Value,
    meaning: &'static str,
}

/// All parameters, in the order of docs/api.md.
pub(super) fn all() -> Vec<Parameter> {
    let parameter = |name, schema, example, meaning| Parameter { name, schema, example, meaning };
    let up_to_8 = || json!({ "type": "integer", "minimum": 1, "maximum": 8, "default": 1 });
    let fraction = || json!({ "type": "number", "minimum": 0, "maximum": 1 });
    let one_of =
        |values: &[&str]| json!({ "type": "string", "enum": values, "default": values[0] });
    let mut alpha = fraction();
    alpha["default"] = json!(0.4);
    let spelled = json!([true, false, 1, 0, "true", "false", "1", "0", "yes", "no", "on", "off"]);
    let flag = json!({ "enum": spelled, "default": true });
    let methods = json!({ "type": "string", "enum": Method::ALL, "default": Method::default() });
    let top = json!({ "type": "integer", "minimum": 1, "maximum": 10_000 });
    vec![
        parameter(
            "model",
            json!({ "type": "string", "format": "model", "maxLength": 1024 }),
            json!("derm-lite0"),
            "Name of the model that is asked; the first by name if not given",
        ),
        parameter("top_k", top, json!(3), "Number of classes in `results`; all if not given"),
        parameter("gradcam", flag, json!(true), "Whether to compute a heatmap"),
        parameter(
            "class",
            json!({ "type": "string", "format": "class-ids", "maxLength": 1024 }),
            json!("mel,nv"),
            "Ids or indices of the classes to explain, comma-separated, at most 32; the most probable one if not given",
        ),
        parameter("method", methods, json!("layercam"), "The explanation method"),
        parameter(
            "layer",
            json!({ "type": "string", "format": "layer", "default": "auto", "maxLength": 1024 }),
            json!("auto"),
            "The layer that a class activation map is computed at: `auto`, a name, or an index of `GET /model/`",
        ),
        parameter(
            "smooth",
            up_to_8(),
            json!(2),
            "Number of flips and rotations whose heatmaps are averaged",
        ),
        parameter(
            "scale",
            one_of(&["minmax", "max"]),
            json!("max"),
            "How the map's values become 0..1",
        ),
        parameter(
            "output",
            one_of(&["overlay", "heatmap", "mask", "json", "npy"]),
            json!("json"),
            "What is drawn of a heatmap",
        ),
        parameter(
            "size",
            one_of(&["input", "upload"]),
            json!("input"),
            "Size of the heatmap's picture",
        ),
        parameter(
            "contour",
            fraction(),
            json!(0.5),
            "Level of the contour line; for `mask`, the threshold",
        ),
        parameter(
            "colormap",
            one_of(&["jet", "viridis", "inferno", "turbo"]),
            json!("viridis"),
            "Colours of the heatmap",
        ),
        parameter("alpha", alpha, json!(0.5), "Opacity of the heatmap in an overlay"),
        parameter(
            "tta",
            up_to_8(),
            json!(2),
            "Number of flips and rotations whose probabilities are averaged",
        ),
        parameter(
            "lang",
            json!({ "type": "string", "maxLength": 1024 }),
            json!("vi"),
            "Language of labels and pages: `en`, `vi`; by default that of `Accept-Language`",
        ),
    ]
}

/// Parameters of `/predict/` that V1 does without: its path says what is asked.
const NOT_IN_V1: [&str; 4] = ["model", "top_k", "gradcam", "lang"];

/// The parameters that the query of V1 may have.
fn of_v1() -> impl Iterator<Item = Parameter> {
    all().into_iter().filter(|parameter| !NOT_IN_V1.contains(&parameter.name))
}

/// Names of the parameters that V1 may have.
pub(super) fn names_of_v1() -> Vec<&'static str> {
    of_v1().map(|parameter| parameter.name).collect()
}

/// The name of a parameter's schema; others may have the same name as the parameter.
fn schema_name(name: &str) -> String {
    format!("parameter.{name}")
}

/// The properties of a JSON object that has the parameters.
pub(super) fn json_properties() -> Map<String, Value> {
    json_properties_of(&all().iter().map(|parameter| parameter.name).collect::<Vec<_>>())
}

/// The properties of a JSON object that has these parameters.
pub(super) fn json_properties_of(names: &[&str]) -> Map<String, Value> {
    let property = |name: &&str| ((*name).to_owned(), component("schemas", json_schema_name(name)));
    names.iter().map(property).collect()
}

/// The name of the schema of a parameter in JSON.
fn json_schema_name(name: &str) -> String {
    format!("json.{name}")
}

/// The schema of a parameter in JSON, where a value may be null as well, or empty: it counts as absent. An index
/// may be a number.
fn in_json(name: &str) -> Value {
    let absent = json!({ "enum": [null, ""], "description": "As if it were not given" });
    let mut any = vec![component("schemas", schema_name(name)), absent];
    if ["class", "layer"].contains(&name) {
        any.push(json!({ "type": "integer", "minimum": 0, "description": "An index" }));
    }
    // Any value: one that is not the name of a language is ignored.
    if name == "lang" {
        any.push(json!({}));
    }
    json!({ "anyOf": any })
}

/// The properties of a body that has the parameters beside the image.
pub(super) fn properties() -> Map<String, Value> {
    let property = |parameter: &Parameter| {
        (parameter.name.to_owned(), component("schemas", schema_name(parameter.name)))
    };
    all().iter().map(property).collect()
}

/// Adds the parameters of the query.
pub(super) fn describe(document: &mut Value) {
    let refer = |parameter: &Parameter| component("parameters", parameter.name);
    let parameters = all();
    document["paths"]["/predict/"]["post"]["parameters"] = parameters.iter().map(refer).collect();
    for (path, method) in [("/model/", "get"), ("/admin/reload", "post")] {
        document["paths"][path][method]["parameters"] = json!([component("parameters", "model")]);
    }
    in_paths(document);
    document["paths"]["/"]["get"]["parameters"] = json!([{
        "name": "lang",
        "in": "query",
        "description": "Language of the page: `en`, `vi`; by default that of `Accept-Language`",
        "schema": { "type": "string" },
        "example": "vi",
    }]);
    for Parameter { name, schema, example, meaning } in parameters {
        document["components"]["parameters"][name] = json!({
            "name": name,
            "in": "query",
            "description": meaning,
            // As if it were not given.
            "allowEmptyValue": true,
            "schema": component("schemas", schema_name(name)),
            "example": example,
        });
        document["components"]["schemas"][json_schema_name(name)] = in_json(name);
        let mut schema = schema;
        schema["description"] = json!(meaning);
        document["components"]["schemas"][schema_name(name)] = schema;
    }
}

/// Adds the names in paths, and what V1 and V2 take beside their bodies.
fn in_paths(document: &mut Value) {
    let named = |name: &str, format: &str, example: &str, meaning: &str| {
        json!({
            "name": name,
            "in": "path",
            "required": true,
            "description": meaning,
            "schema": { "type": "string", "format": format },
            "example": example,
        })
    };
    let components = &mut document["components"]["parameters"];
    components["path.model"] = named("model", "model", "derm-lite0", "Name of the model");
    components["path.version"] =
        named("version", "model-version", "0.8.0", "The model's version; there is one");
    components["Inference-Header-Content-Length"] = json!({
        "name": "Inference-Header-Content-Length",
        "in": "header",
        "description": "Bytes of the body that are JSON; binary data follows. 0: the body is the file of one image. All if not given",
        "schema": { "type": "integer", "minimum": 0 },
        "example": 0,
    });
    for (path, _, operation) in super::operations(document) {
        if !path.contains("{model}") {
            continue;
        }
        let mut parameters = vec![component("parameters", "path.model")];
        if path.ends_with("/infer") {
            parameters.push(component("parameters", "Inference-Header-Content-Length"));
        }
        if path.ends_with(":predict") || path.ends_with(":explain") {
            parameters.extend(of_v1().map(|parameter| component("parameters", parameter.name)));
        }
        operation["parameters"] = json!(parameters);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::{NAMES, Parameters};

    fn set(name: &str, value: &Value) -> bool {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Parameters::default().set(name, &text).is_ok()
    }

    #[test]
    fn each_parameter_of_the_server_and_of_its_docs_is_described() {
        let mut described: Vec<&str> = all().iter().map(|parameter| parameter.name).collect();
        let docs = include_str!("../../../../docs/api.md");
        let table = docs.split("### Parameters").nth(1).unwrap().split("```").next().unwrap();
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let mut documented: Vec<&str> = rows.collect();
        let mut read = NAMES;
        described.sort_unstable();
        documented.sort_unstable();
        read.sort_unstable();
        assert_eq!(described, read);
        assert_eq!(documented, read);
    }

    #[test]
    fn the_server_takes_what_is_described_and_nothing_beyond_it() {
        for Parameter { name, schema, example, .. } in all() {
            assert!(set(name, &example), "{name}={example}");
            for value in schema["enum"].as_array().into_iter().flatten() {
                assert!(set(name, value), "{name}={value}");
            }
            for bound in ["minimum", "maximum", "default"] {
                assert!(schema[bound].is_null() || set(name, &schema[bound]), "{name} {bound}");
            }
            for (bound, step) in [("minimum", -1.0), ("maximum", 1.0)] {
                let Some(value) = schema[bound].as_f64() else { continue };
                assert!(!set(name, &json!((value + step).to_string())), "{name} beyond {bound}");
            }
            if schema["enum"].is_array() || schema["type"] != "string" {
                assert!(!set(name, &json!("none of these")), "{name}");
            }
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_server() {
        let mut given = Parameters::default();
        for Parameter { name, schema, .. } in all() {
            if let Some(value) = schema.get("default") {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                given.set(name, &text).unwrap();
            }
        }
        assert_eq!(given.request(true), Parameters::default().request(true));
    }
}
