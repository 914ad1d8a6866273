//! Drafts of manifests: what files say is taken over, the rest is marked; each draft is a manifest.

#![allow(clippy::unwrap_used, missing_docs)]

mod network;

use derm_model::{Graph, Manifest, ModelSource, Output, draft_manifest, draft_manifest_for_input};
use derm_preprocess::{ChannelOrder, Filter, Fit, Layout};
use network::{FLOAT, INT64, Network, STRING, UINT8};
use tempfile::TempDir;

fn folder(network: &Network, files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.onnx"), network.bytes()).unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// The draft, as text and read; the model loads with it.
fn draft(network: &Network, files: &[(&str, &str)]) -> (String, Manifest) {
    let folder = folder(network, files);
    let text = draft_manifest(folder.path()).unwrap();
    let manifest = Manifest::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    std::fs::write(folder.path().join("model.toml"), &text).unwrap();
    Graph::load(&ModelSource::at(folder.path())).unwrap_or_else(|error| panic!("{error}\n{text}"));
    (text, manifest)
}

fn ids(manifest: &Manifest) -> Vec<&str> {
    manifest.classes.iter().map(|class| class.id.as_str()).collect()
}

#[test]
fn a_graph_alone_says_shapes_and_output_and_the_rest_is_marked() {
    let (text, manifest) = draft(&Network::classifier("input", 3, 4), &[]);
    assert_eq!((manifest.output, manifest.classes.len()), (Output::Logits, 4));
    assert_eq!(manifest.input.shape(), [1, 3, 8, 8]);
    for (line, is_guess) in [
        ("height", false),
        ("layout", false),
        ("output", false),
        ("mean", true),
        ("filter", true),
        ("fit", true),
        ("channels", true),
    ] {
        let found = text.lines().find(|other| other.starts_with(&format!("{line} ="))).unwrap();
        assert_eq!(found.contains("CHECK"), is_guess, "{found}");
    }
}

#[test]
fn hugging_face() {
    let config = r#"{"architectures": ["ViTForImageClassification"], "image_size": 8,
        "id2label": {"0": "nv", "1": "mel", "2": "nv"}, "label2id": {}}"#;
    let vit = r#"{"do_normalize": true, "do_rescale": true, "do_resize": true, "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.25, 0.25, 0.25], "resample": 2, "rescale_factor": 0.00392156862745098,
        "size": {"height": 8, "width": 8}}"#;
    let network = Network::classifier("pixel_values", 3, 3);
    let (text, manifest) =
        draft(&network, &[("config.json", config), ("preprocessor_config.json", vit)]);
    assert_eq!(ids(&manifest), ["nv", "mel", "nv-2"]);
    assert_eq!((manifest.input.mean, manifest.input.std), ([0.5; 3], [0.25; 3]));
    assert_eq!((manifest.input.filter, manifest.input.fit), (Filter::Bilinear, Fit::Stretch));
    // Who wrote them, and the order of colours, no file says.
    assert_eq!(text.matches("CHECK:").count(), 2, "{text}");

    let crop = r#"{"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 3,
        "do_center_crop": true, "crop_size": {"height": 8, "width": 8}, "size": {"shortest_edge": 10}}"#;
    let (_, manifest) = draft(&network, &[("preprocessor_config.json", crop)]);
    assert_eq!(
        (manifest.input.filter, manifest.input.fit),
        (Filter::Bicubic, Fit::CropShortestSide(10))
    );
    let convnext = r#"{"crop_pct": 0.875, "resample": 3, "size": {"shortest_edge": 8}, "do_normalize": false}"#;
    let (_, manifest) = draft(&network, &[("preprocessor_config.json", convnext)]);
    assert_eq!((manifest.input.fit, manifest.input.std), (Fit::CropShortestSide(9), [1.0; 3]));
}

#[test]
fn timm() {
    let config = r#"{"architecture": "x", "num_classes": 2, "label_names": ["benign", "malignant"], "pretrained_cfg":
        {"input_size": [3, 8, 8], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bicubic",
        "crop_pct": 0.9, "crop_mode": "center"}}"#;
    let (_, manifest) = draft(&Network::classifier("input", 3, 2), &[("config.json", config)]);
    assert_eq!(ids(&manifest), ["benign", "malignant"]);
    assert_eq!((manifest.input.mean, manifest.input.std), ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]));
    assert_eq!(
        (manifest.input.filter, manifest.input.fit),
        (Filter::Bicubic, Fit::CropShortestSide(8))
    );
    assert!((manifest.input.scale - 1.0 / 255.0).abs() < 1e-9);
}

/// NHWC, pixels divided by `divisor` inside, softmax.
fn keras(divisor: f64) -> Network {
    let mut network = Network::classifier("x", 3, 3);
    network.input("input", FLOAT, &[-1, 8, 8, 3]);
    network.tensor("divisor", FLOAT, &[], &[divisor]);
    network.node("Div", &["input", "divisor"], "scaled");
    network.node("Transpose:0,3,1,2", &["scaled"], "x");
    network.node("Softmax:1", &["logits"], "probabilities");
    network.outputs(&[("probabilities", FLOAT, &[-1, 3])]);
    network
}

#[test]
fn keras_graphs_and_configuration() {
    let (text, manifest) = draft(&keras(127.5), &[("labels.txt", "a\nb\n\nc\n")]);
    assert_eq!((manifest.input.layout, manifest.output), (Layout::Nhwc, Output::Softmax));
    assert_eq!((manifest.input.scale, manifest.input.mean), (1.0, [0.0; 3]));
    assert_eq!(ids(&manifest), ["a", "b", "c"]);
    assert!(text.contains("it rescales pixels itself"), "{text}");
    // A divisor that says nothing, and a configuration that does.
    let config = r#"{"class_name": "Functional", "config": {"layers": [{"class_name": "InputLayer"},
        {"class_name": "Normalization"}, {"class_name": "Conv2D"}]}}"#;
    let (text, manifest) = draft(&keras(2.0), &[("config.json", config)]);
    assert_eq!(manifest.input.scale, 1.0);
    assert!(text.contains("a layer rescales pixels"), "{text}");
    let (text, manifest) = draft(&keras(2.0), &[]);
    assert!(manifest.input.scale < 0.01 && text.contains("scale = 0.003921569  # CHECK"), "{text}");
}

#[test]
fn signatures_that_need_more_than_a_default() {
    let mut integers = Network::classifier("x", 3, 1);
    integers.input("input", UINT8, &[-1, 3, 8, 8]);
    integers.node("Cast:1", &["input"], "x");
    integers.node("Sigmoid", &["logits"], "p");
    integers.outputs(&[("p", FLOAT, &[-1, 1])]);
    let (_, manifest) = draft(&integers, &[]);
    assert_eq!((manifest.input.scale, manifest.output), (1.0, Output::Sigmoid));
    assert_eq!(manifest.classes.len(), 2);

    let (_, manifest) = draft(&Network::classifier("input", 1, 3), &[]);
    assert_eq!(manifest.input.channels, ChannelOrder::Grey);

    let mut zip_map = Network::classifier("data", 3, 3);
    zip_map.node("Softmax:1", &["logits"], "probabilities");
    zip_map.node("ai.onnx.ml/ZipMap", &["probabilities"], "loss");
    zip_map.node("ai.onnx.ml/LabelEncoder", &["probabilities"], "classLabel");
    zip_map.outputs(&[("classLabel", STRING, &[-1, 1]), ("loss", -1, &[])]);
    zip_map.metadata("Image.BitmapPixelFormat", "Bgr8");
    zip_map.metadata("Image.NominalPixelRange", "NominalRange_0_255");
    let (_, manifest) = draft(&zip_map, &[("labels.txt", "x\ny\nz")]);
    assert_eq!(manifest.output_name.as_deref(), Some("probabilities"));
    assert_eq!((manifest.input.channels, manifest.input.scale), (ChannelOrder::Bgr, 1.0));
    assert_eq!(ids(&manifest), ["x", "y", "z"]);

    // A number for each picture beside the scores, after them.
    let mut score = Network::classifier("input", 3, 4);
    score.node("ReduceMax", &["logits"], "score");
    score.outputs(&[("logits", FLOAT, &[-1, 4]), ("score", FLOAT, &[-1])]);
    let (_, manifest) = draft(&score, &[]);
    assert_eq!((manifest.output_name.as_deref(), manifest.classes.len()), (Some("logits"), 4));

    let mut ultralytics = Network::classifier("images", 3, 2);
    ultralytics.metadata("names", "{0: 'benign', 1: 'malignant'}");
    assert_eq!(ids(&draft(&ultralytics, &[]).1), ["benign", "malignant"]);
}

#[test]
fn configuration_that_contradicts_the_graph_is_not_followed() {
    let config = r#"{"image_size": 224, "id2label": {"0": "a", "1": "b"}}"#;
    let broken = ("preprocessor_config.json", "{not json");
    let (text, manifest) =
        draft(&Network::classifier("input", 3, 3), &[("config.json", config), broken]);
    assert_eq!(manifest.input.height, 8);
    assert_eq!(ids(&manifest), ["class-0", "class-1", "class-2"]);
    assert!(text.contains("another number of classes"), "{text}");
    let mut nothing = Network::classifier("input", 3, 3);
    nothing.node("ArgMax", &["logits"], "label");
    nothing.outputs(&[("label", INT64, &[1])]);
    assert!(draft_manifest(folder(&nothing, &[]).path()).is_err());
}

#[test]
fn a_described_input_says_how_long_free_axes_are() {
    for (free, shape) in [
        (vec![-1, -1, -1, -1], [1, 3, 8, 8]),
        (vec![-1, 3, -1, -1], [1, 3, 8, 8]),
        (vec![-1, -1, -1, 3], [1, 8, 8, 3]),
    ] {
        let mut network = Network::classifier("input", 3, 4);
        network.input("input", FLOAT, &free);
        let folder = folder(&network, &[]);
        let model = folder.path().join("model.onnx");
        let manifest = draft_manifest_for_input(&model, &shape, None).unwrap();
        let parsed = Manifest::parse(&manifest).unwrap();
        assert_eq!(parsed.input.shape(), shape, "{free:?}");
        if shape[1] == 3 {
            // There is no file with the manifest.
            let source = ModelSource::Described { model, manifest };
            let opened = source.open().unwrap();
            assert!(opened.is_intact());
            assert_eq!(**opened.manifest(), parsed);
            let graph = Graph::load(&ModelSource::Opened(opened.clone())).unwrap();
            assert_eq!(graph.input().shape, shape);
            assert!(!opened.is_superseded());
        }
    }
    // What the graph says is not overruled.
    let folder = folder(&Network::classifier("input", 3, 4), &[]);
    let text = draft_manifest_for_input(folder.path(), &[1, 3, 9, 9], None).unwrap();
    assert_eq!(Manifest::parse(&text).unwrap().input.shape(), [1, 3, 8, 8]);
}

#[test]
fn an_output_is_chosen_by_name() {
    let mut network = Network::classifier("input", 3, 4);
    network.tensor("other_matrix", FLOAT, &[3, 4], &[0.25; 12]);
    network.tensor("other_bias", FLOAT, &[3], &[0.5; 3]);
    network.node("Gemm", &["flat", "other_matrix", "other_bias"], "others");
    network.node("Softmax:1", &["others"], "shares");
    network.outputs(&[
        ("logits", FLOAT, &[1, 4]),
        ("shares", FLOAT, &[1, 3]),
        ("features", FLOAT, &[1, 4, 8, 8]),
    ]);
    let folder = folder(&network, &[]);
    let model = folder.path().join("model.onnx");
    let draft = |output| draft_manifest_for_input(&model, &[1, 3, 8, 8], output);
    for (output, name, kind, classes) in [
        (None, "shares", Output::Softmax, 3),
        (Some("logits"), "logits", Output::Logits, 4),
        (Some("shares"), "shares", Output::Softmax, 3),
        // A value that is no output.
        (Some("others"), "others", Output::Logits, 3),
    ] {
        let manifest = draft(output).unwrap();
        let found = Manifest::parse(&manifest).unwrap();
        assert_eq!(found.output_name.as_deref(), Some(name), "{output:?}");
        assert_eq!((found.output, found.classes.len()), (kind, classes), "{output:?}");
        Graph::load(&ModelSource::Described { model: model.clone(), manifest }).unwrap();
    }
    for wrong in ["nothing", "features", "input"] {
        let error = draft(Some(wrong)).unwrap_err().to_string();
        assert!(error.contains(wrong) && error.contains("\"logits\" float32 [1, 4]"), "{error}");
    }
    // Not declared, and no scores: refused when it is loaded.
    let manifest = draft(Some("sums")).unwrap();
    assert!(Graph::load(&ModelSource::Described { model, manifest }).is_err());
}
