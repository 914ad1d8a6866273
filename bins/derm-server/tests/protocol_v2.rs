//! The Open Inference Protocol, version 2: its answers are those of `/predict/`.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{Answer, LONG, Server, bundled, data, manifest, picture};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Instant;

const JSON: &str = "Content-Type: application/json\r\n";
const INFER: &str = "/v2/models/derm-lite0/infer";
const CLASSES: [&str; 7] = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"];
const SIDE: usize = 224;

fn post_json(server: &Server, path: &str, body: &Value) -> Answer {
    server.post(path, JSON, body.to_string().as_bytes())
}

fn ok(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn bad(answer: &Answer, status: u16, parts: &[&str]) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let error = answer.error();
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
}

/// A request of encoded pictures in base64.
fn pictures(pictures: &[&[u8]]) -> Value {
    let data: Vec<String> = pictures.iter().map(|one| STANDARD.encode(one)).collect();
    json!({"inputs": [{"name": "image", "shape": [data.len()], "datatype": "BYTES", "data": data}]})
}

/// A binary request: its headers and its body.
fn binary(mut request: Value, elements: &[u8]) -> (String, Vec<u8>) {
    request["inputs"][0]["parameters"] = json!({"binary_data_size": elements.len()});
    let header = request.to_string();
    // tritonclient sends no Content-Type.
    let headers = format!("Inference-Header-Content-Length: {}\r\n", header.len());
    (headers, [header.as_bytes(), elements].concat())
}

/// Elements of BYTES, each after its length.
fn elements(pictures: &[&[u8]]) -> Vec<u8> {
    pictures.iter().flat_map(|one| [&(one.len() as u32).to_le_bytes(), *one].concat()).collect()
}

/// An output of an answer, by name.
fn output(answer: &Value, name: &str) -> Value {
    let outputs = answer["outputs"].as_array().unwrap();
    let found = outputs.iter().find(|output| output["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {answer}")).clone()
}

fn floats(output: &Value) -> Vec<f64> {
    output["data"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

/// The probabilities that `/predict/` gives, by class.
fn expected(server: &Server, picture: &[u8]) -> Vec<f64> {
    let answer = server.post("/predict/?gradcam=false", "Content-Type: image/jpeg\r\n", picture);
    let results = ok(&answer)["results"].as_array().unwrap().clone();
    let of = |class: &&str| {
        let result = results.iter().find(|result| result["class"] == **class).unwrap();
        result["probability"].as_f64().unwrap() / 100.0
    };
    CLASSES.iter().map(of).collect()
}

fn assert_same(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
}

#[test]
fn the_server_and_its_model_describe_themselves() {
    let server = Server::start(&[]);
    let about = ok(&server.get("/v2"));
    assert_eq!(about["name"], "derm-server");
    assert!(about["extensions"].as_array().unwrap().contains(&json!("binary_tensor_data")));
    assert_eq!(ok(&server.get("/v2/health/live"))["live"], true);
    let metadata = ok(&server.get("/v2/models/derm-lite0"));
    let versions = metadata["versions"].as_array().unwrap();
    let version = versions[0].as_str().unwrap();
    assert_eq!(metadata["inputs"][0], json!({"name": "image", "datatype": "BYTES", "shape": [-1]}));
    assert_eq!(metadata["inputs"][1]["datatype"], "FP32");
    assert_eq!(metadata["inputs"][1]["shape"], json!([-1, 3, SIDE, SIDE]));
    let names: Vec<&str> = metadata["outputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|output| output["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["probabilities", "logits", "label", "ood_score", "heatmap", "overlay"]);
    assert_eq!(ok(&server.get(&format!("/v2/models/derm-lite0/versions/{version}"))), metadata);
    let config = ok(&server.get("/v2/models/derm-lite0/config"));
    assert_eq!(config["input"][0]["data_type"], "TYPE_STRING");
    assert_eq!(config["output"][0]["dims"], json!([-1, 7]));
    for path in ["/v2/models/other", "/v2/models/derm-lite0/versions/9", "/v2/models/other/config"]
    {
        bad(&server.get(path), 404, &["no model"]);
    }
    assert_eq!(post_json(&server, "/v2/models/other/infer", &pictures(&[b"x"])).status, 404);
    assert_eq!(server.get(INFER).status, 405);
    assert_eq!(server.post("/v2", "", b"").status, 405);
}

#[test]
fn encoded_pictures_in_every_form_give_the_answer_of_predict() {
    let server = Server::start(&[]);
    let (first, second) = (picture(), data("full-chroma.jpg"));
    let (one, two) = (expected(&server, &first), expected(&server, &second));
    let both: Vec<f64> = one.iter().chain(&two).copied().collect();
    let answer = ok(&post_json(&server, INFER, &pictures(&[&first, &second])));
    assert_eq!(answer["model_name"], "derm-lite0");
    let probabilities = output(&answer, "probabilities");
    assert_eq!(probabilities["shape"], json!([2, 7]));
    assert_eq!(probabilities["datatype"], "FP32");
    assert_same(&floats(&probabilities), &both);
    let labels = output(&answer, "label");
    let largest = |of: &[f64]| CLASSES[(0..7).max_by(|a, b| of[*a].total_cmp(&of[*b])).unwrap()];
    assert_eq!(labels["data"], json!([largest(&one), largest(&two)]));
    assert_eq!(output(&answer, "ood_score")["shape"], json!([2]));

    let (headers, body) = binary(pictures(&[&first, &second]), &elements(&[&first, &second]));
    let mut request: Value =
        serde_json::from_slice(&body[..body.len() - elements(&[&first, &second]).len()]).unwrap();
    // `data` and binary data exclude each other.
    bad(&server.post(INFER, &headers, &body), 400, &["both"]);
    request["inputs"][0].as_object_mut().unwrap().remove("data");
    let (headers, body) = binary(request, &elements(&[&first, &second]));
    assert_same(
        &floats(&output(&ok(&server.post(INFER, &headers, &body)), "probabilities")),
        &both,
    );
    let version = answer["model_version"].as_str().unwrap();
    let versioned = format!("/v2/models/derm-lite0/versions/{version}/infer");
    assert_same(
        &floats(&output(&ok(&server.post(&versioned, &headers, &body)), "probabilities")),
        &both,
    );

    // Compressed: the header's length is that of the plain JSON.
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&body).unwrap();
    let compressed = format!("{headers}Content-Encoding: gzip\r\n");
    let answer = server.post(INFER, &compressed, &gzip.finish().unwrap());
    assert_same(&floats(&output(&ok(&answer), "probabilities")), &both);

    // A data URL, a column, and the bare file.
    let url = format!("data:image/jpeg;base64,{}", STANDARD.encode(&first));
    let column = json!({"id": "x", "inputs": [
        {"name": "image", "shape": [1, 1], "datatype": "BYTES", "data": [[url]]}
    ]});
    let answer = ok(&post_json(&server, INFER, &column));
    assert_eq!(answer["id"], "x");
    assert_same(&floats(&output(&answer, "probabilities")), &one);
    let plain = server.post(INFER, "Inference-Header-Content-Length: 0\r\n", &first);
    assert_same(&floats(&output(&ok(&plain), "probabilities")), &one);
}

#[test]
fn tensors_of_the_graphs_input_are_taken_as_they_are() {
    let server = Server::start(&[]);
    let name = ok(&server.get("/v2/models/derm-lite0"))["inputs"][1]["name"].clone();
    // A grey picture, as PNG and as the values that the manifest makes of it.
    let mut png = std::io::Cursor::new(Vec::new());
    let grey = image::RgbImage::from_pixel(SIDE as u32, SIDE as u32, image::Rgb([90, 140, 200]));
    grey.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let expected = expected(&server, png.get_ref());
    let of = |value: f32| (value - 127.0) / 128.0;
    let values: Vec<f32> =
        [90.0, 140.0, 200.0].iter().flat_map(|value| vec![of(*value); SIDE * SIDE]).collect();
    let request = |shape: Value| {
        json!({"inputs": [{"name": name, "shape": shape, "datatype": "FP32"}],
            "outputs": [{"name": "probabilities"}, {"name": "heatmap"}]})
    };
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let shape = json!([1, 3, SIDE, SIDE]);
    let (headers, body) = binary(request(shape.clone()), &bytes);
    let answer = ok(&server.post(INFER, &headers, &body));
    assert_same(&floats(&output(&answer, "probabilities")), &expected);
    let heatmap = output(&answer, "heatmap");
    assert_eq!(heatmap["shape"], json!([1, 7, 7]));
    assert!(floats(&heatmap).iter().all(|value| (0.0..=1.0).contains(value)));

    let mut listed = request(shape.clone());
    listed["inputs"][0]["data"] = json!(values);
    let answer = ok(&post_json(&server, INFER, &listed));
    assert_same(&floats(&output(&answer, "probabilities")), &expected);

    let (headers, body) = binary(request(json!([2, 3, SIDE, SIDE])), &bytes);
    bad(&server.post(INFER, &headers, &body), 400, &["elements"]);
    let (headers, body) = binary(request(json!([1, SIDE, SIDE, 3])), &bytes);
    bad(&server.post(INFER, &headers, &body), 400, &["shape", "[n, 3, 224, 224]"]);
    let mut drawn = request(shape.clone());
    drawn["outputs"] = json!([{"name": "overlay"}]);
    let (headers, body) = binary(drawn, &bytes);
    bad(&server.post(INFER, &headers, &body), 400, &["overlay", "picture"]);
    let mut other = request(shape);
    other["inputs"][0]["datatype"] = json!("UINT8");
    let (headers, body) = binary(other, &bytes);
    bad(&server.post(INFER, &headers, &body), 400, &["UINT8", "FP32"]);
}

#[test]
fn outputs_are_those_that_are_asked_for() {
    let server = Server::start(&[]);
    let bytes = picture();
    let predicted = server.post("/predict/?class=mel", "Content-Type: image/jpeg\r\n", &bytes);
    let predicted = ok(&predicted);
    let mut request = pictures(&[&bytes]);
    request["parameters"] = json!({"class": "mel", "priority": 0, "sequence_id": "a"});
    request["outputs"] = json!([
        {"name": "overlay"},
        {"name": "logits"},
        {"name": "probabilities", "parameters": {"classification": 2}},
        {"name": "heatmap"},
    ]);
    let answer = ok(&post_json(&server, INFER, &request));
    let names: Vec<&Value> =
        answer["outputs"].as_array().unwrap().iter().map(|output| &output["name"]).collect();
    assert_eq!(names, ["overlay", "logits", "probabilities", "heatmap"]);
    let overlay = output(&answer, "overlay");
    assert_eq!(overlay["data"][0], predicted["heatmap"], "drawn as /predict/ draws it");
    assert_eq!(overlay["parameters"]["encoding"], "base64");
    let ranked = output(&answer, "probabilities");
    assert_eq!((&ranked["shape"], &ranked["datatype"]), (&json!([1, 2]), &json!("BYTES")));
    let first = ranked["data"][0].as_str().unwrap().split(':').collect::<Vec<_>>();
    let best = &predicted["results"][0];
    assert_eq!(first[2], best["class"].as_str().unwrap());
    assert_eq!(CLASSES[first[1].parse::<usize>().unwrap()], first[2]);
    let probability: f64 = first[0].parse().unwrap();
    assert!((probability - best["probability"].as_f64().unwrap() / 100.0).abs() < 1e-5);
    // The manifest's temperature makes probabilities of logits.
    let temperature: f64 = manifest("temperature").parse().unwrap();
    let logits = floats(&output(&answer, "logits"));
    let logits: Vec<f64> = logits.iter().map(|value| (value / temperature).exp()).collect();
    assert!(
        (logits.iter().copied().fold(0.0, f64::max) / logits.iter().sum::<f64>() - probability)
            .abs()
            < 1e-4
    );

    // The same in binary form.
    request["parameters"]["binary_data_output"] = json!(true);
    let answer = post_json(&server, INFER, &request);
    let length: usize = answer.header("Inference-Header-Content-Length").unwrap().parse().unwrap();
    let head: Value = serde_json::from_slice(&answer.body[..length]).unwrap();
    let sizes = head["outputs"].as_array().unwrap().iter();
    let sizes: Vec<usize> = sizes
        .map(|output| output["parameters"]["binary_data_size"].as_u64().unwrap() as usize)
        .collect();
    assert_eq!(length + sizes.iter().sum::<usize>(), answer.body.len());
    let png = &answer.body[length + 4..length + sizes[0]];
    assert_eq!(STANDARD.encode(png), predicted["heatmap"].as_str().unwrap());
    assert!(head["outputs"][0].get("data").is_none());

    for (outputs, parts) in [
        (json!([{"name": "x"}]), &["\"x\"", "probabilities"][..]),
        (json!([{"name": "label", "parameters": {"classification": 1}}]), &["classification"]),
        (json!([{"name": "label", "parameters": {"binary_data": 3}}]), &["binary_data"]),
    ] {
        request["outputs"] = outputs;
        bad(&post_json(&server, INFER, &request), 400, parts);
    }
    request["outputs"] = json!([{"name": "heatmap"}]);
    for (parameters, part) in [
        (json!({"class": "nowhere"}), "nowhere"),
        (json!({"class": "mel,nv"}), "one class"),
        (json!({"method": "magic"}), "method"),
    ] {
        request["parameters"] = parameters;
        bad(&post_json(&server, INFER, &request), 422, &[part]);
    }
    let without = Server::start(&[("ENABLE_GRADCAM", "false")]);
    request["parameters"] = json!({});
    bad(&post_json(&without, INFER, &request), 422, &["ENABLE_GRADCAM"]);
}

#[test]
fn one_bad_picture_fails_alone_and_the_only_one_fails_the_request() {
    let server = Server::start(&[]);
    let good = picture();
    let answer = ok(&post_json(&server, INFER, &pictures(&[b"no picture", &good, &good[..99]])));
    let probabilities = output(&answer, "probabilities");
    assert_eq!(probabilities["shape"], json!([3, 7]));
    let data = probabilities["data"].as_array().unwrap();
    assert!(data[..7].iter().chain(&data[14..]).all(Value::is_null));
    let found: Vec<f64> = data[7..14].iter().map(|value| value.as_f64().unwrap()).collect();
    assert_same(&found, &expected(&server, &good));
    assert_eq!(output(&answer, "label")["data"][0], "");
    let parameters = answer["parameters"].as_object().unwrap();
    assert_eq!(parameters.keys().collect::<Vec<_>>(), ["error[0]", "error[2]"]);
    bad(&post_json(&server, INFER, &pictures(&[b"no picture"])), 415, &["format"]);
    assert_eq!(post_json(&server, INFER, &pictures(&[b"a", b"b"])).status, 415);
}

#[test]
fn requests_that_break_the_protocol_are_refused_and_cost_nothing() {
    let server = Server::start(&[("MAX_UPLOAD_BYTES", "100000")]);
    let input = |rest: &str| format!("{{\"inputs\": [{{\"name\": \"image\", {rest}}}]}}");
    let ones = vec!["1"; 100].join(",");
    let fields: String = (0..100).map(|n| format!("\"{n}\": 1,")).collect();
    for (body, part) in [
        (String::new(), "request"),
        ("[]".to_owned(), "request"),
        ("{}".to_owned(), "inputs"),
        ("{\"inputs\": []}".to_owned(), "0 inputs"),
        (input("\"shape\": [1], \"datatype\": \"BYTES\""), "no data"),
        (input("\"shape\": [2], \"datatype\": \"BYTES\", \"data\": [\"a\"]"), "1 elements of 2"),
        (input("\"shape\": [1], \"datatype\": \"BYTES\", \"data\": [\"a\", \"b\"]"), "more than 1"),
        (input("\"shape\": [1], \"datatype\": \"BYTES\", \"data\": [1]"), "not a string"),
        (input("\"shape\": [0], \"datatype\": \"BYTES\", \"data\": []"), "shape"),
        (input("\"shape\": [-1], \"datatype\": \"BYTES\", \"data\": [\"a\"]"), "request"),
        (input("\"shape\": [129], \"datatype\": \"BYTES\", \"data\": [\"a\"]"), "128"),
        (
            input(&format!("\"shape\": [{ones}], \"datatype\": \"BYTES\", \"data\": []")),
            "more than",
        ),
        (input("\"shape\": [1], \"datatype\": \"FP16\", \"data\": [1]"), "FP16"),
        (input(&format!("{fields} \"shape\": [1], \"datatype\": \"BYTES\"")), "no data"),
        (
            input(&format!(
                "\"parameters\": {{{fields} \"a\": 1}}, \"shape\": [1], \"datatype\": \"BYTES\""
            )),
            "more than 64",
        ),
        (input("\"shape\": [1], \"datatype\": \"BYTES\", \"data\": [\"$$\"]"), "base64"),
        (format!("{{\"inputs\": {}", "[".repeat(90_000)), "request"),
    ] {
        bad(&server.post(INFER, JSON, body.as_bytes()), 400, &[part]);
    }
    let request = json!({"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES"}]});
    let (headers, body) = binary(request.clone(), b"\xff\xff\xff\xffabc");
    bad(&server.post(INFER, &headers, &body), 400, &["longer"]);
    bad(&server.post(INFER, &headers, &body[..body.len() - 1]), 400, &["binary_data_size"]);
    for length in ["99999", "-1", "x"] {
        let headers = format!("Inference-Header-Content-Length: {length}\r\n");
        bad(&server.post(INFER, &headers, &body), 400, &["Inference-Header-Content-Length"]);
    }
    assert_eq!(server.post(INFER, "", &vec![b' '; 200_000]).status, 413);
    let large = elements(&[&vec![0; 100_001]]);
    let (headers, body) = binary(request, &large);
    assert_eq!(server.post(INFER, &headers, &body).status, 413);
    let memory = server.memory();
    assert_eq!(memory["budget"]["uploads_mb"], 0.0, "{memory}");
    assert_eq!(memory["predictions"], 0, "{memory}");
}

#[test]
fn a_model_is_ready_when_it_was_checked_and_unloaded_when_it_is_told_to() {
    let key = "0123456789abcdef";
    let server = Server::start(&[("ADMIN_KEY", key)]);
    let index = |body: &str| {
        ok(&server.post("/v2/repository/index", JSON, body.as_bytes())).as_array().unwrap().clone()
    };
    assert_eq!(index("")[0]["state"], "UNAVAILABLE");
    assert!(index("{\"ready\": true}").is_empty());
    assert_eq!(server.post("/v2/repository/index", JSON, b"[").status, 400);
    let until_ready = |path: &str| {
        let start = Instant::now();
        while server.get(path).status != 200 {
            assert!(start.elapsed() < LONG, "{path} is never ready");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    until_ready("/v2/models/derm-lite0/ready");
    until_ready("/v2/health/ready");
    assert_eq!(index("{\"ready\": true}")[0]["name"], "derm-lite0");

    let authorization = format!("Authorization: Bearer {key}\r\n");
    let unload = "/v2/repository/models/derm-lite0/unload";
    let load = "/v2/repository/models/derm-lite0/load";
    for path in [unload, load] {
        assert_eq!(server.post(path, "", b"").status, 401);
        assert_eq!(server.post(&path.replace("lite0", "x"), &authorization, b"").status, 404);
    }
    assert_eq!(server.post(unload, &authorization, b"").status, 200);
    assert_eq!(server.memory()["model_loaded"], false);
    assert_eq!(server.memory()["budget"]["weights_mb"], 0.0);
    let ready = server.get("/v2/models/derm-lite0/ready");
    assert_eq!((ready.status, ready.json()["ready"].clone()), (503, json!(false)));
    assert_eq!(index("")[0]["state"], "UNAVAILABLE");
    assert_eq!(server.post(load, &authorization, b"{}").status, 200);
    assert_eq!(server.memory()["model_loaded"], true);
    assert_eq!(server.get("/v2/models/derm-lite0/ready").status, 200);
    assert_eq!(server.post(unload, &authorization, b"").status, 200);
    // The next use loads it.
    ok(&post_json(&server, INFER, &pictures(&[&picture()])));
    assert_eq!(server.get("/v2/models/derm-lite0/ready").status, 200);
}

#[test]
fn keys_protect_what_they_protected() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    std::fs::write(&file, format!("a:{hash}\n")).unwrap();
    let server = Server::start(&[("API_KEYS_FILE", file.to_str().unwrap())]);
    for path in ["/v2", "/v2/models/derm-lite0", "/v1/models", "/v2/models/derm-lite0/ready"] {
        assert_eq!(server.get(path).status, 401, "{path}");
    }
    for path in [INFER, "/v2/repository/index", "/v2/repository/models/derm-lite0/unload"] {
        assert_eq!(server.post(path, "", b"").status, 401, "{path}");
    }
    assert_eq!(server.get("/v2/health/live").status, 200);
    let unloading = "/v2/repository/models/derm-lite0/unload";
    assert_eq!(server.post(unloading, "X-API-Key: test\r\n", b"").status, 200);
}

/// A folder with the bundled model, whose input is made one of bytes with the channels last.
fn model_of_bytes() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut model = derm_onnx::read(&bundled().join("model.onnx")).unwrap();
    let graph = model.graph.mut_or_insert_default();
    let conv = graph.node.iter().find(|node| node.op_type == "Conv").unwrap().clone();
    let attribute =
        |name: &str| conv.attribute.iter().find(|one| one.name == name).unwrap().clone();
    let node = |operator: &str, input: &str, output: &str, attribute| {
        let mut node = conv.clone();
        (node.op_type, node.name) = (operator.to_owned(), format!("own {operator}"));
        (node.input, node.output) = (vec![input.to_owned()], vec![output.to_owned()]);
        node.attribute = vec![attribute];
        node
    };
    let stored: Vec<String> = graph.initializer.iter().map(|one| one.name.clone()).collect();
    let input = graph.input.iter_mut().find(|input| !stored.contains(&input.name)).unwrap();
    let name = std::mem::replace(&mut input.name, "pixels".to_owned());
    // Its type: a tensor (1) of elements (1) of uint8 (2), with a shape (2) of dimensions (1).
    let dimensions: Vec<u8> = [&[1][..], &[0xe0, 1], &[0xe0, 1], &[3]]
        .iter()
        .flat_map(|value| [&[0x0a, value.len() as u8 + 1, 0x08], *value].concat())
        .collect();
    let tensor = [&[0x08, 2, 0x12, dimensions.len() as u8], &dimensions[..]].concat();
    let kind = [&[0x0a, tensor.len() as u8], &tensor[..]].concat();
    let unknown = input.special_fields.mut_unknown_fields();
    unknown.remove(2);
    unknown.add_length_delimited(2, kind);
    let (mut to, mut axes) = (attribute("group"), attribute("strides"));
    (to.name, to.i) = ("to".to_owned(), 1);
    (axes.name, axes.ints) = ("perm".to_owned(), vec![0, 3, 1, 2]);
    graph.node.insert(0, node("Transpose", "own floats", &name, axes));
    graph.node.insert(0, node("Cast", "pixels", "own floats", to));
    derm_onnx::write(&model, &folder.path().join("model.onnx")).unwrap();
    let manifest = std::fs::read_to_string(bundled().join("model.toml")).unwrap();
    let (before, rest) = manifest.split_once("[input]").unwrap();
    let classes = &rest[rest.find("[[classes]]").unwrap()..];
    let input = "[input]\nheight = 224\nwidth = 224\nlayout = \"nhwc\"\nscale = 1.0\n\n";
    std::fs::write(folder.path().join("model.toml"), format!("{before}{input}{classes}")).unwrap();
    folder
}

#[test]
fn a_graph_of_bytes_with_the_channels_last_takes_its_own_tensor() {
    let folder = model_of_bytes();
    let server = Server::start(&[("MODEL_PATH", folder.path().to_str().unwrap())]);
    let metadata = ok(&server.get("/v2/models/derm-lite0"));
    let shape = json!([-1, SIDE, SIDE, 3]);
    let input = json!({"name": "pixels", "datatype": "UINT8", "shape": shape});
    assert_eq!(metadata["inputs"][1], input);
    assert_eq!(metadata["parameters"]["layout"], "nhwc");
    let pixels = image::RgbImage::from_fn(SIDE as u32, SIDE as u32, |x, y| {
        image::Rgb([(x * 3) as u8, (y * 2 + x) as u8, (x * y / 16) as u8])
    });
    let mut png = std::io::Cursor::new(Vec::new());
    pixels.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let expected = expected(&server, png.get_ref());
    let request = json!({"inputs": [
        {"name": "pixels", "datatype": "UINT8", "shape": [2, SIDE, SIDE, 3]}
    ]});
    let both = [pixels.as_raw().clone(), vec![7; SIDE * SIDE * 3]].concat();
    let (headers, body) = binary(request.clone(), &both);
    let answer = ok(&server.post(INFER, &headers, &body));
    assert_same(&floats(&output(&answer, "probabilities"))[..7], &expected);
    let mut listed = request;
    listed["inputs"][0]["data"] = json!(both);
    let listed = ok(&post_json(&server, INFER, &listed));
    assert_eq!(output(&listed, "probabilities"), output(&answer, "probabilities"));
}
