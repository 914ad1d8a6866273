//! The HTTP contract of docs/api.md, on the real binary with the bundled model.

#![allow(clippy::unwrap_used, missing_docs, clippy::print_stderr)]

mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{FORM, LONG, Server, copy_bundled, data, examples, form, picture};

const CLASSES: [&str; 7] = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"];

#[test]
fn every_way_to_send_a_picture_gives_the_same_answer() {
    let server = Server::start(&[]);
    let picture = picture();
    let url = format!("data:image/jpeg;base64,{}", STANDARD.encode(&picture));
    let json = serde_json::json!({ "image": url, "top_k": 7 }).to_string();
    let escaped: String = form_urlencoded::byte_serialize(url.as_bytes()).collect();
    let sent: [(&str, &str, Vec<u8>); 8] = [
        ("/predict/", FORM, form(&[("image", true, &picture)])),
        ("/upload/", FORM, form(&[("image", false, url.as_bytes())])),
        ("/upload/file/", FORM, form(&[("csrf", false, b"x"), ("image", true, &picture)])),
        // The only one that has bytes.
        (
            "/upload/file/",
            FORM,
            form(&[("image", true, b""), ("image", true, &picture), ("image", true, b"")]),
        ),
        ("/predict", "Content-Type: image/jpeg\r\n", picture.clone()),
        ("/upload", "Content-Type: application/json\r\n", json.into_bytes()),
        (
            "/upload/file",
            "Content-Type: application/x-www-form-urlencoded\r\n",
            format!("image={escaped}&top_k=7").into_bytes(),
        ),
        ("/predict/", "Content-Type: application/octet-stream\r\n", picture.clone()),
    ];
    let answers: Vec<serde_json::Value> = sent
        .iter()
        .map(|(path, headers, body)| {
            let answer = server.post(path, headers, body);
            assert_eq!(answer.status, 200, "{path} {headers} {}", answer.text());
            answer.json()
        })
        .collect();
    for answer in &answers {
        assert_eq!(answer["results"], answers[0]["results"]);
        assert_eq!(answer["heatmap"], answers[0]["heatmap"]);
    }
    let results = answers[0]["results"].as_array().unwrap();
    let mut classes: Vec<&str> = results.iter().map(|r| r["class"].as_str().unwrap()).collect();
    let percents: Vec<f64> = results.iter().map(|r| r["probability"].as_f64().unwrap()).collect();
    assert!(percents.is_sorted_by(|a, b| a >= b));
    assert!(
        (percents.iter().sum::<f64>() - 100.0).abs() < 0.01,
        "percent, as the original gave it"
    );
    classes.sort_unstable();
    assert_eq!(classes, CLASSES);
    let png = STANDARD.decode(answers[0]["heatmap"].as_str().unwrap()).unwrap();
    assert_eq!(image::load_from_memory(&png).unwrap().width(), 224);
    assert!(answers[0]["disclaimer"].as_str().unwrap().contains("never a diagnosis"));
}

#[test]
fn every_picture_format_is_read() {
    let server = Server::start(&[("ENABLE_GRADCAM", "false")]);
    for name in [
        "progressive.jpg",
        "cmyk.jpg",
        "grey.jpg",
        "palette.png",
        "deep.png",
        "interlaced.png",
        "alpha.png",
        "lossy.webp",
        "rgb.bmp",
        "two-frames.gif",
        "rgb.tiff",
    ] {
        let answer = server.post("/predict/", FORM, &form(&[("image", true, &data(name))]));
        assert_eq!(answer.status, 200, "{name} {}", answer.text());
        assert!(answer.json()["heatmap"].is_null());
        assert_eq!(answer.json()["warnings"], serde_json::json!([]), "{name}");
    }
}

#[test]
fn a_damaged_picture_is_answered_with_a_warning_or_an_error_and_the_connection_goes_on() {
    let server = Server::start(&[("ENABLE_GRADCAM", "false")]);
    let send = |name: &str| server.post("/predict/", FORM, &form(&[("image", true, &data(name))]));
    let cut = send("cut-last-byte-of-data.jpg");
    assert_eq!(cut.status, 200, "{}", cut.text());
    assert_eq!(cut.json()["warnings"].as_array().unwrap().len(), 1, "{}", cut.text());
    // A file that makes the decoder of its format panic.
    let fuzzed = send("fuzz-yuv.webp");
    assert_eq!(fuzzed.status, 400, "{}", fuzzed.text());
    assert!(!fuzzed.error().is_empty());
    // A format that is known and not read is named.
    let heic = server.post(
        "/predict/",
        "Content-Type: image/heic\r\n",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    );
    assert_eq!(heic.status, 415, "{}", heic.text());
    assert!(heic.error().contains("HEIC"), "{}", heic.error());
    assert_eq!(send("baseline.jpg").status, 200);
}

#[test]
fn parameters_in_query_and_form() {
    let server = Server::start(&[]);
    let ask = |query: &str, extra: &[(&str, bool, &[u8])]| {
        let picture = picture();
        let mut fields: Vec<(&str, bool, &[u8])> = vec![("image", true, &picture)];
        fields.extend_from_slice(extra);
        let answer = server.post(&format!("/predict/?{query}"), FORM, &form(&fields));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    assert_eq!(ask("top_k=2", &[])["results"].as_array().unwrap().len(), 2);
    assert!(ask("", &[("gradcam", false, b"false")])["heatmap"].is_null());
    let plain = ask("", &[]);
    let of_class = ask("class=vasc", &[("colormap", false, b"viridis"), ("alpha", false, b"0.9")]);
    assert_eq!(of_class["explained_class"], "vasc");
    assert_ne!(of_class["heatmap"], plain["heatmap"]);
    assert_eq!(plain["explained_class"], plain["results"][0]["class"]);
    let alone = ask("output=heatmap", &[]);
    let png = STANDARD.decode(alone["heatmap"].as_str().unwrap()).unwrap();
    assert!(image::load_from_memory(&png).unwrap().color().has_alpha());
    assert_eq!(alone["picture"], serde_json::json!({ "width": 320, "height": 240 }));
    assert_eq!(alone["region"]["height"], 1.0);
    assert_eq!(ask("lang=vi&class=mel", &[])["results"].as_array().unwrap().len(), 7);
}

#[test]
fn explanations_by_class_method_layer_and_form() {
    let server = Server::start(&[]);
    let picture = picture();
    let ask = |query: &str| {
        let answer =
            server.post(&format!("/predict/?{query}"), "Content-Type: image/jpeg\r\n", &picture);
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        answer.json()
    };
    let model = server.get("/model/").json();
    assert_eq!(model["classes"].as_array().unwrap().len(), 7);
    assert_eq!(model["methods"].as_array().unwrap().len(), 12);
    assert_eq!(model["license"], "CC BY-NC 4.0");
    let layers = model["layers"].as_array().unwrap();
    let wide = layers.iter().find(|layer| layer["shape"][2] == 56).unwrap();
    assert_eq!(layers[wide["index"].as_u64().unwrap() as usize]["name"], wide["name"]);

    let several = ask("class=mel,nv,6");
    let heatmaps = several["heatmaps"].as_array().unwrap();
    let classes: Vec<&str> = heatmaps.iter().map(|h| h["class"].as_str().unwrap()).collect();
    assert_eq!(classes, ["mel", "nv", "vasc"]);
    assert_eq!(several["heatmap"], heatmaps[0]["heatmap"]);
    assert_eq!(several["explained_class"], "mel");
    assert_ne!(heatmaps[0]["heatmap"], heatmaps[1]["heatmap"]);
    let one = ask("class=mel");
    assert_eq!(one["heatmap"], several["heatmap"]);
    assert!(one.get("heatmaps").is_none(), "one heatmap is not sent twice");

    for method in ["gradcam%2B%2B", "eigencam", "ablationcam", "saliency", "smoothgrad"] {
        let answer = ask(&format!("class=mel&method={method}"));
        assert_eq!(answer["results"], one["results"], "{method} predicts the same");
        assert_ne!(answer["heatmap"], one["heatmap"], "{method}");
    }
    let layer: String =
        form_urlencoded::byte_serialize(wide["name"].as_str().unwrap().as_bytes()).collect();
    let by_name = ask(&format!("class=mel&layer={layer}&output=json"));
    let by_number = ask(&format!("class=mel&layer={}&output=json", wide["index"]));
    assert_eq!(by_name["heatmaps"], by_number["heatmaps"]);
    assert_eq!(by_name["heatmaps"][0]["values"].as_array().unwrap().len(), 56);
    assert!(by_name["heatmap"].is_null());

    let bytes =
        |answer: &serde_json::Value| STANDARD.decode(answer["heatmap"].as_str().unwrap()).unwrap();
    assert!(bytes(&ask("output=npy")).starts_with(b"\x93NUMPY"));
    let mask = image::load_from_memory(&bytes(&ask("output=mask&contour=0.7"))).unwrap().to_luma8();
    let white = mask.pixels().filter(|pixel| pixel.0[0] == 255).count();
    assert!(
        white > 0 && white < mask.len() / 2 && mask.pixels().all(|p| [0, 255].contains(&p.0[0]))
    );
    assert_ne!(ask("contour=0.5")["heatmap"], ask("")["heatmap"]);
    assert_ne!(ask("smooth=8")["heatmap"], ask("")["heatmap"]);
    // The plan of the last explanation is not kept for ever.
    let memory = || server.get("/memory/").json()["budget"]["idle_arenas_mb"].as_f64().unwrap();
    let start = std::time::Instant::now();
    while memory() > 0.0 {
        assert!(start.elapsed() < LONG);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn an_unknown_class_or_layer_is_refused_though_no_heatmap_is_asked_for() {
    let servers = [Server::start(&[]), Server::start(&[("ENABLE_GRADCAM", "false")])];
    for server in &servers {
        let ask = |query: &str, fields: &str| {
            let body = format!("{{\"image\": \"{}\"{fields}}}", STANDARD.encode(picture()));
            let path = format!("/predict/?gradcam=false&{query}");
            server.post(&path, "Content-Type: application/json\r\n", body.as_bytes())
        };
        // Before the model is loaded, and after.
        for (query, fields) in [
            ("layer=nowhere", ""),
            ("layer=9999", ""),
            ("class=nowhere", ""),
            ("", ", \"layer\": 9999"),
            ("", ", \"layer\": true"),
            ("", ", \"class\": [\"mel\"]"),
            ("method=magic", ""),
        ] {
            let answer = ask(query, fields);
            assert_eq!(answer.status, 422, "{query}{fields} {}", answer.text());
        }
        let answer = ask("class=mel,6&layer=auto", ", \"layer\": 3");
        assert!(answer.status == 200 && answer.json()["heatmap"].is_null(), "{}", answer.text());
    }
}

#[test]
fn a_heatmap_has_a_scale_and_the_range_of_its_map() {
    let server = Server::start(&[]);
    let ask = |query: &str| {
        let path = format!("/predict/?class=mel&method=gradcam&output=json&{query}");
        let answer = server.post(&path, "Content-Type: image/jpeg\r\n", &picture());
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        answer.json()
    };
    let values = |answer: &serde_json::Value| -> Vec<f64> {
        let rows = answer["heatmaps"][0]["values"].as_array().unwrap();
        let rows = rows.iter().map(|row| row.as_array().unwrap());
        rows.flatten().map(|value| value.as_f64().unwrap()).collect()
    };
    for smooth in ["", "&smooth=2"] {
        let [default, whole, of_largest] =
            ["", "scale=minmax", "scale=max"].map(|scale| ask(&format!("{scale}{smooth}")));
        let range = &default["heatmap_range"];
        for answer in [&default, &whole, &of_largest] {
            assert_eq!(answer["heatmaps"][0]["range"], *range);
            assert_eq!(answer["heatmap_range"], *range);
            assert_eq!(answer["warnings"], serde_json::json!([]));
            assert_eq!(values(answer).iter().copied().fold(0.0, f64::max), 1.0);
        }
        assert_eq!(values(&whole), values(&default));
        let (min, max) = (range["min"].as_f64().unwrap(), range["max"].as_f64().unwrap());
        assert!(0.0 <= min && min < max, "{range}");
        if smooth.is_empty() {
            for (of_largest, whole) in values(&of_largest).iter().zip(values(&whole)) {
                let expected = (min + whole * (max - min)) / max;
                assert!((of_largest - expected).abs() < 1e-5, "{of_largest} for {expected}");
            }
        }
    }
    let none = server.post("/predict/?gradcam=false", "Content-Type: image/jpeg\r\n", &picture());
    assert!(none.json().get("heatmap_range").is_none());
}

#[test]
fn what_is_no_dermoscopy_is_called_uncertain() {
    let server = Server::start(&[("ENABLE_GRADCAM", "false")]);
    let mut state = 1u32;
    let noise = image::RgbImage::from_fn(300, 300, |_, _| {
        image::Rgb([0, 1, 2].map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        }))
    });
    let mut png = std::io::Cursor::new(Vec::new());
    noise.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let body = form(&[("image", true, png.get_ref()), ("tta", false, b"2")]);
    let answer = server.post("/predict/", FORM, &body).json();
    assert_eq!(answer["uncertain"], true, "{answer}");
    let (score, threshold) = (&answer["ood"]["score"], &answer["ood"]["threshold"]);
    assert!(score.as_f64().unwrap() > threshold.as_f64().unwrap());
    assert!(answer["flagged"].is_array());
    assert!(answer["results"].as_array().unwrap().contains(&answer["decision"]), "{answer}");
    let page = server.post("/predict/", &format!("{FORM}Accept: text/html\r\n"), &body).text();
    assert!(page.contains("does not know pictures of this kind"), "{page}");
    let example =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/src/page/example.jpg")).unwrap();
    let known = server.post("/predict/", FORM, &form(&[("image", true, &example)])).json();
    assert_eq!(known["uncertain"], false, "{known}");
}

#[test]
fn headers_of_an_answer() {
    let server = Server::start(&[]);
    let body = form(&[("image", true, &picture())]);
    let answer = server.post("/predict/", &format!("{FORM}X-Request-Id: abc-1\r\n"), &body);
    let timing = answer.header("Server-Timing").unwrap();
    for step in ["decode", "infer", "gradcam", "render"] {
        assert!(timing.contains(&format!("{step};dur=")), "{timing}");
    }
    assert_eq!(answer.header("X-Request-Id"), Some("abc-1"));
    assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"));
    let other = server.get("/health/");
    assert_eq!(other.header("X-Request-Id").unwrap().len(), 16);
    assert!(other.header("Content-Security-Policy").unwrap().contains("default-src 'none'"));
}

#[test]
fn health_and_memory() {
    let server = Server::start(&[("ENABLE_GRADCAM", "0")]);
    for path in ["/health", "/health/"] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    }
    let before = server.memory();
    assert_eq!((&before["status"], &before["model_loaded"]), (&"ok".into(), &false.into()));
    assert_eq!(before["gradcam_enabled"], false);
    let body = form(&[("image", true, &picture()), ("gradcam", false, b"true")]);
    let answer = server.post("/predict/", FORM, &body).json();
    assert!(answer["heatmap_error"].as_str().unwrap().contains("ENABLE_GRADCAM"));
    let after = server.memory();
    assert_eq!((&after["model_loaded"], &after["predictions"]), (&true.into(), &1.into()));
    for key in ["rss_mb", "vms_mb", "percent", "peak_mb", "limit_mb"] {
        assert!(after["memory"][key].as_f64().unwrap() > 0.0, "{key}");
    }
    assert!(after["memory"]["rss_mb"].as_f64() > before["memory"]["rss_mb"].as_f64());
}

#[test]
fn pages_for_browsers() {
    let server = Server::start(&[]);
    let page = server.get("/");
    assert!(page.header("Content-Type").unwrap().starts_with("text/html"));
    assert!(page.text().contains("not a diagnosis"));
    assert!(server.get("/?lang=vi").text().contains("không phải là chẩn đoán"));
    for asset in ["/style.css", "/app.js", "/example.jpg"] {
        assert_eq!(server.get(asset).status, 200, "{asset}");
    }
    let html = format!("{FORM}Accept: text/html,application/xhtml+xml\r\n");
    let result = server.post("/upload/?lang=vi", &html, &form(&[("image", true, &picture())]));
    assert_eq!(result.status, 200);
    let text = result.text();
    assert!(text.contains("<meter") && text.contains("data:image/png;base64,"));
    assert!(text.contains("U hắc tố ác tính") && text.contains("không phải là chẩn đoán"));
    let error = server.post("/upload/", &html, &form(&[("image", true, b"<b>no</b>")]));
    assert_eq!(error.status, 415);
    assert!(error.text().contains("role=\"alert\"") && !error.text().contains("<b>no"));
    let again = server.post("/upload/", &html, &form(&[("image", true, b"")]));
    assert_eq!(again.status, 400);
}

/// What a manifest says is text of the page, wherever it stands.
#[test]
fn labels_on_the_page_are_text() {
    let model = tempfile::tempdir().unwrap();
    let hostile = "<script>alert('&')</script>";
    copy_bundled(model.path(), |manifest| {
        let changed = manifest.replace("Melanoma", hostile);
        assert_ne!(changed, manifest);
        changed
    });
    let server = Server::start(&[("MODEL_PATH", model.path().to_str().unwrap())]);
    let html = format!("{FORM}Accept: text/html\r\nAccept-Language: vi;q=0, en;q=0.1\r\n");
    let page = server.post("/predict/", &html, &form(&[("image", true, &picture())])).text();
    assert!(page.contains("<html lang=\"en\">"), "{page}");
    assert!(page.contains("&#60;script&#62;alert(&#39;&#38;&#39;)&#60;/script&#62;"), "{page}");
    assert!(!page.contains("<script>"), "{page}");
}

/// Every example of docs/api.md is run as it stands, against this server.
#[test]
fn the_curl_examples_of_the_docs_work() {
    let server = Server::start(&[]);
    let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let all = examples(&std::fs::read_to_string(root.join("docs/api.md")).unwrap());
    assert!(all.len() >= 6, "{} examples", all.len());
    for example in &all {
        let Some(text) = example.run(&server, root, &[]) else { continue };
        let source = &example.source;
        assert!(!text.contains("\"error\"") || source.contains("# an error"), "{source}\n{text}");
    }
}
