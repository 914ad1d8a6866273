//! Inputs and outputs in every form that exporters write: the same network, the same numbers.

#![allow(clippy::unwrap_used, missing_docs)]

mod network;

use derm_model::{EngineOptions, Error, Graph, Manifest, ModelSource, PackedWeightCache, Plan};
use network::{DOUBLE, FLOAT, FLOAT16, INT64, Network, STRING, UINT8, dims};

const SIDE: usize = 8;
const CLASSES: usize = 3;

fn manifest(output: &str, more: &str, classes: usize) -> String {
    let classes: String =
        (0..classes).map(|class| format!("[[classes]]\nid = \"c{class}\"\n")).collect();
    format!(
        "name = \"m\"\noutput = \"{output}\"\n{more}\n[input]\nheight = {SIDE}\nwidth = {SIDE}\n\
         scale = 1.0\n{classes}"
    )
}

/// Whole numbers from 0 to 255, `[row, column, channel]`.
fn picture() -> Vec<f32> {
    (0..SIDE * SIDE * 3).map(|index| ((index * 37 + index * index * 5) % 256) as f32).collect()
}

fn load(network: &Network, manifest: &str) -> Result<Graph, Error> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.onnx"), network.bytes()).unwrap();
    std::fs::write(folder.path().join("model.toml"), manifest).unwrap();
    Graph::load(&ModelSource::at(folder.path()))
}

/// The scores of the picture; an input of one channel gets its first.
fn scores(network: &Network, manifest: &str) -> Vec<f32> {
    let graph = load(network, manifest).unwrap();
    let plan =
        Plan::new(&graph, &EngineOptions::default(), &mut PackedWeightCache::default()).unwrap();
    let fill = |to: &mut [f32]| {
        let step = picture().len() / to.len();
        to.iter_mut().zip(picture().into_iter().step_by(step)).for_each(|(to, p)| *to = p);
    };
    let run = plan.run(fill).unwrap();
    assert_eq!(run.output(0).shape(), [1, Manifest::parse(manifest).unwrap().classes.len()]);
    run.output(0).iter().copied().collect()
}

#[track_caller]
fn assert_near(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (found_one, expected_one) in found.iter().zip(expected) {
        let difference = (found_one - expected_one).abs();
        assert!(difference <= tolerance * (1.0 + expected_one.abs()), "{found:?} {expected:?}");
    }
}

fn base() -> (Network, Vec<f32>) {
    let network = Network::classifier("input", 3, CLASSES);
    let expected = scores(&network, &manifest("logits", "", CLASSES));
    let spread = expected.iter().fold(0f32, |most, score| most.max((score - expected[0]).abs()));
    assert!(spread > 0.1, "{expected:?}");
    (network, expected)
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
    logits.iter().map(|logit| logit.exp() / sum).collect()
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// The network behind nodes that make its input of another; the other input is declared so.
fn behind(element: i32, shape: &[i64], front: impl FnOnce(&mut Network)) -> Network {
    let mut network = Network::classifier("x", 3, CLASSES);
    network.input("input", element, shape);
    front(&mut network);
    network
}

const SIDES: [i64; 2] = [SIDE as i64, SIDE as i64];

#[test]
fn an_input_without_a_batch() {
    let (_, expected) = base();
    let network = behind(FLOAT, &[3, SIDES[0], SIDES[1]], |network| {
        network.tensor("zero", INT64, &[1], &[0.0]);
        network.node("Unsqueeze", &["input", "zero"], "x");
    });
    assert_near(&scores(&network, &manifest("logits", "", CLASSES)), &expected, 1e-5);
}

#[test]
fn a_fixed_batch_runs_as_one_where_the_graph_permits() {
    let (mut network, expected) = base();
    network.input("input", FLOAT, &[4, 3, SIDES[0], SIDES[1]]);
    let graph = load(&network, &manifest("logits", "", CLASSES)).unwrap();
    assert!(graph.notes()[0].contains("a batch of 1"), "{:?}", graph.notes());
    assert_near(&scores(&network, &manifest("logits", "", CLASSES)), &expected, 1e-5);
}

#[test]
fn a_fixed_batch_that_the_graph_counts_on_is_filled_with_copies() {
    let (mut network, expected) = base();
    network.input("input", FLOAT, &[4, 3, SIDES[0], SIDES[1]]);
    network.tensor("shape", INT64, &[2], &[4.0, -1.0]);
    network.replace("Flatten", "Reshape", &["pooled", "shape"]);
    let graph = load(&network, &manifest("logits", "", CLASSES)).unwrap();
    assert!(graph.notes()[0].contains("computed 4 times"), "{:?}", graph.notes());
    assert_near(&scores(&network, &manifest("logits", "", CLASSES)), &expected, 1e-5);
}

#[test]
fn a_batch_too_large_to_fill_is_named() {
    let (mut network, _) = base();
    network.input("input", FLOAT, &[1000, 3, SIDES[0], SIDES[1]]);
    let error = load(&network, &manifest("logits", "", CLASSES)).unwrap_err().to_string();
    assert!(error.contains("batch of 1000"), "{error}");
}

#[test]
fn float64_throughout_and_at_the_end() {
    let (mut network, expected) = base();
    network.node("Cast:11", &["logits"], "wide");
    network.outputs(&[("wide", DOUBLE, &[1, 3])]);
    assert_near(&scores(&network, &manifest("logits", "", CLASSES)), &expected, 1e-5);
    let (mut network, _) = base();
    network.convert(DOUBLE);
    assert_near(&scores(&network, &manifest("logits", "", CLASSES)), &expected, 1e-5);
}

#[test]
fn float16_throughout_and_at_both_ends() {
    let (mut network, expected) = base();
    network.convert(FLOAT16);
    assert_near(&scores(&network, &manifest("logits", "", CLASSES)), &expected, 3e-3);
    let mut network = behind(FLOAT16, &[1, 3, SIDES[0], SIDES[1]], |network| {
        network.node("Cast:1", &["input"], "x");
    });
    network.node("Cast:10", &["logits"], "half");
    network.outputs(&[("half", FLOAT16, &[1, 3])]);
    assert_near(&scores(&network, &manifest("logits", "", CLASSES)), &expected, 1e-5);
}

#[test]
fn integers_are_the_pictures_own() {
    let (_, expected) = base();
    let shape = [1, 3, SIDES[0], SIDES[1]];
    let at_once = behind(UINT8, &shape, |network| network.node("Cast:1", &["input"], "x"));
    assert_near(&scores(&at_once, &manifest("logits", "", CLASSES)), &expected, 1e-5);
    let later = behind(UINT8, &shape, |network| {
        network.tensor("none", UINT8, &[1], &[0.0]);
        network.node("Max", &["input", "none"], "larger");
        network.node("Cast:1", &["larger"], "x");
    });
    assert_near(&scores(&later, &manifest("logits", "", CLASSES)), &expected, 1e-5);
    // As if derm_preprocess had divided by 255: the manifest says no scale.
    let left_out = manifest("logits", "", CLASSES).replace("scale = 1.0\n", "");
    let graph = load(&later, &left_out).unwrap();
    assert!(graph.notes()[0].contains("uint8"), "{:?}", graph.notes());
    let plan =
        Plan::new(&graph, &EngineOptions::default(), &mut PackedWeightCache::default()).unwrap();
    let run = plan.run(|to| {
        to.iter_mut().zip(picture()).for_each(|(to, pixel)| *to = pixel * (1.0 / 255.0));
    });
    let found: Vec<f32> = run.unwrap().output(0).iter().copied().collect();
    assert_near(&found, &expected, 1e-5);
}

#[test]
fn normalisation_for_integers_is_refused() {
    let shape = [1, 3, SIDES[0], SIDES[1]];
    let network = behind(UINT8, &shape, |network| network.node("Cast:1", &["input"], "x"));
    let text = manifest("logits", "", CLASSES);
    let text = text.replace("scale = 1.0", "scale = 1.0\nmean = [1.5, 0, 0]");
    let error = load(&network, &text).unwrap_err().to_string();
    assert!(error.contains("uint8") && error.contains("scale = 1.0"), "{error}");
}

#[test]
fn one_channel() {
    let network = Network::classifier("input", 1, CLASSES);
    let text = manifest("logits", "", CLASSES);
    let grey = text.replace("scale", "channels = \"grey\"\nmean = 1\nscale");
    let colours = text.replace("scale", "mean = [1.0, 1.0, 1.0]\nscale");
    assert_eq!(scores(&network, &grey), scores(&network, &colours));
    let mut flat = Network::classifier("x", 1, CLASSES);
    flat.input("input", FLOAT, &SIDES);
    flat.tensor("two", INT64, &[2], &[0.0, 1.0]);
    flat.node("Unsqueeze", &["input", "two"], "x");
    assert_near(&scores(&flat, &text), &scores(&network, &text), 1e-5);
    let different = text.replace("scale", "mean = [1.0, 2.0, 3.0]\nscale");
    let error = load(&network, &different).unwrap_err().to_string();
    assert!(error.contains("one channel"), "{error}");
}

#[test]
fn scores_without_a_batch_and_with_axes_of_length_one() {
    let (network, expected) = base();
    for (shape, activation) in [
        (&[3][..], None),
        (&[1, 3, 1, 1], None),
        (&[1, 1, 1, 3], Some("Softmax:-1")),
        (&[3], Some("Softmax:0")),
    ] {
        let mut network = network.clone();
        let numbers: Vec<f64> = shape.iter().map(|&length| length as f64).collect();
        network.tensor("shape", INT64, &[shape.len() as i64], &numbers);
        network.node("Reshape", &["logits", "shape"], "other");
        if let Some(activation) = activation {
            network.node(activation, &["other"], "probabilities");
            network.outputs(&[("probabilities", FLOAT, shape)]);
            let found = scores(&network, &manifest("softmax", "", CLASSES));
            assert_near(&found, &softmax(&expected), 1e-5);
        } else {
            network.outputs(&[("other", FLOAT, shape)]);
            assert_near(&scores(&network, &manifest("logits", "", CLASSES)), &expected, 1e-5);
        }
    }
}

#[test]
fn one_unit_is_the_second_of_two_classes() {
    let unit = Network::classifier("input", 3, 1);
    let logit = {
        let two = scores(&unit, &manifest("logits", "", 2));
        two[1] - two[0]
    };
    let expected = [1.0 - sigmoid(logit), sigmoid(logit)];
    let mut probability = unit.clone();
    probability.node("Sigmoid", &["logits"], "p");
    probability.outputs(&[("p", FLOAT, &[-1, 1])]);
    let mut clipped = probability.clone();
    clipped.tensor("least", FLOAT, &[], &[1e-6]);
    clipped.node("Clip", &["p", "least"], "clipped");
    clipped.outputs(&[("clipped", FLOAT, &[-1, 1])]);
    let mut flat = probability.clone();
    flat.node("Squeeze", &["p"], "alone");
    flat.outputs(&[("alone", FLOAT, &[])]);
    for network in [&probability, &clipped, &flat] {
        for output in ["sigmoid", "softmax"] {
            assert_near(&scores(network, &manifest(output, "", 2)), &expected, 1e-5);
        }
    }
    assert_near(&scores(&probability, &manifest("sigmoid", "", 1)), &expected[1..], 1e-5);
    // What softmax makes of the logits is the same.
    assert_near(&softmax(&scores(&unit, &manifest("logits", "", 2))), &expected, 1e-5);
    let mut always_one = unit;
    always_one.node("Softmax:1", &["logits"], "p");
    always_one.outputs(&[("p", FLOAT, &[1, 1])]);
    let error = load(&always_one, &manifest("softmax", "", 2)).unwrap_err().to_string();
    assert!(error.contains("always 1"), "{error}");
}

#[test]
fn scores_behind_labels_and_features() {
    let (mut network, expected) = base();
    network.node("Softmax:1", &["logits"], "probabilities");
    network.node("ArgMax", &["probabilities"], "label");
    let of = |outputs: &[(&str, i32, &[i64])]| {
        let mut network = network.clone();
        network.outputs(outputs);
        network
    };
    let label = ("label", INT64, &[1][..]);
    let features = ("features", FLOAT, &[1, 4, SIDES[0], SIDES[1]][..]);
    let flat = ("flat", FLOAT, dims(&[1, 4]));
    let logits = ("logits", FLOAT, dims(&[1, 3]));
    let probabilities = ("probabilities", FLOAT, dims(&[1, 3]));
    let first = of(&[label, features, flat, logits]);
    assert_near(&scores(&first, &manifest("logits", "", CLASSES)), &expected, 1e-5);
    // Declared without a shape: the computed one counts.
    let bare = of(&[("features", FLOAT, dims(&[])), ("logits", FLOAT, dims(&[]))]);
    assert_near(&scores(&bare, &manifest("logits", "", CLASSES)), &expected, 1e-5);
    let mut undeclared = network.clone();
    undeclared.undeclared_output("logits");
    assert_near(&scores(&undeclared, &manifest("logits", "", CLASSES)), &expected, 1e-5);
    // Both fit: the one that is what the manifest says.
    for outputs in [[logits, probabilities], [probabilities, logits]] {
        let both = of(&outputs);
        assert_near(&scores(&both, &manifest("logits", "", CLASSES)), &expected, 1e-5);
        let found = scores(&both, &manifest("softmax", "", CLASSES));
        assert_near(&found, &softmax(&expected), 1e-5);
    }
    let named = manifest("logits", "output_name = \"logits\"", CLASSES);
    assert_near(&scores(&of(&[label, probabilities]), &named), &expected, 1e-5);
}

#[test]
fn a_map_of_scores_is_read_before_it_is_one() {
    let (mut network, expected) = base();
    network.node("Softmax:1", &["logits"], "probabilities");
    network.node("ai.onnx.ml/ZipMap", &["probabilities"], "loss");
    network.node("ai.onnx.ml/LabelEncoder", &["probabilities"], "classLabel");
    network.outputs(&[("classLabel", STRING, &[-1, 1]), ("loss", -1, &[])]);
    let found = scores(&network, &manifest("softmax", "", CLASSES));
    assert_near(&found, &softmax(&expected), 1e-5);
}

#[test]
fn what_there_is_is_listed_where_nothing_fits() {
    let (mut network, _) = base();
    network
        .outputs(&[("features", FLOAT, &[1, 4, SIDES[0], SIDES[1]]), ("logits", FLOAT, &[-1, 3])]);
    let error = load(&network, &manifest("logits", "", 5)).unwrap_err().to_string();
    for part in ["5 classes", "\"features\" float32 [1, 4, 8, 8]", "\"logits\" float32 [?, 3]"] {
        assert!(error.contains(part), "{error}");
    }
    let named = manifest("logits", "output_name = \"nowhere\"", CLASSES);
    let error = load(&network, &named).unwrap_err().to_string();
    assert!(error.contains("nowhere") && error.contains("\"logits\""), "{error}");
}

#[test]
fn inputs_without_values_are_listed() {
    let (mut network, _) = base();
    network.input("mean", FLOAT, &[1, 1, 1, 3]);
    network.node("Add", &["logits", "mean"], "sum");
    network.outputs(&[("sum", FLOAT, &[1, 3])]);
    let error = load(&network, &manifest("logits", "", CLASSES)).unwrap_err().to_string();
    assert!(error.contains("extra inputs without values"), "{error}");
    assert!(error.contains("\"mean\" float32 [1, 1, 1, 3]"), "{error}");
}

#[test]
fn what_tensorflow_left_in_is_named() {
    for (operator, expected) in [("Erfc", "GELU"), ("StatelessRandomUniformV2", "augmentation")] {
        let (mut network, _) = base();
        network.node(operator, &["logits"], "other");
        network.outputs(&[("other", FLOAT, &[1, 3])]);
        let error = load(&network, &manifest("logits", "", CLASSES)).unwrap_err().to_string();
        assert!(error.contains(operator) && error.contains(expected), "{error}");
    }
}

#[test]
fn a_manifest_that_the_graphs_end_contradicts_is_noted() {
    let (mut network, _) = base();
    let notes = |network: &Network, output| {
        load(network, &manifest(output, "", CLASSES)).unwrap().notes().join("\n")
    };
    assert_eq!(notes(&network, "logits"), "");
    assert!(notes(&network, "softmax").contains("ends in Gemm"));
    network.node("Softmax:1", &["logits"], "p");
    network.outputs(&[("p", FLOAT, &[1, 3])]);
    assert_eq!(notes(&network, "softmax"), "");
    assert!(notes(&network, "logits").contains("ends in Softmax"));
}

#[test]
fn the_layout_or_size_that_would_fit_is_named() {
    let (mut network, _) = base();
    network.input("input", FLOAT, &[1, SIDES[0], SIDES[1], 3]);
    let error = load(&network, &manifest("logits", "", CLASSES)).unwrap_err().to_string();
    assert!(error.contains("layout = \"nhwc\" would fit"), "{error}");
    network.input("input", FLOAT, &[-1, 3, 20, 30]);
    let error = load(&network, &manifest("logits", "", CLASSES)).unwrap_err().to_string();
    assert!(error.contains("height = 20, width = 30 would fit"), "{error}");
}
