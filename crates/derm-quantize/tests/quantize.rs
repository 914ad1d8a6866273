//! A small network is quantised, runs in integers, and answers as before.

#![allow(clippy::unwrap_used, missing_docs)]

mod network;

use derm_onnx::ModelProto;
use derm_onnx::message::Message;
use derm_quantize::{Error, Quantized, Settings, Silent, quantize};
use network::{MANIFEST, pictures, scores};

fn quantized(model: ModelProto, max_drop: f64) -> Result<Quantized, Error> {
    let settings = Settings { max_drop, ..Settings::default() };
    quantize(model, MANIFEST, &pictures(24), &settings, &Silent)
}

/// The scores of the plan that also explains: they are there before anything is explained.
#[test]
fn a_plan_with_a_gradient_predicts_the_same() {
    let Quantized { model, .. } = quantized(network::float(7), 1.0).unwrap();
    let pictures = pictures(4);
    let (plain, _) = scores(&model, &pictures);
    assert_eq!(network::scores_beside_gradient(&model, &pictures), plain);
}

fn operators(model: &ModelProto) -> Vec<&str> {
    model.graph.node.iter().map(|node| node.op_type.as_str()).collect()
}

#[test]
fn a_network_runs_in_integers_and_answers_as_before() {
    let float = network::float(7);
    let Quantized { model, report } = quantized(float.clone(), 1.0).unwrap();
    // Pictures that it was not calibrated on.
    let others = pictures(40).split_off(24);
    let ((before, _), (after, native)) = (scores(&float, &others), scores(&model, &others));
    assert_eq!(native, report.operators);
    assert!(native.ends_with("evaluated by tract: none"), "{native}");
    let native = native.trim_start_matches("native ").split("; ").next().unwrap();
    let is_integer = |name: &str| {
        name.starts_with("Int8") || ["Copy", "Dequantize", "Quantize", "Transpose"].contains(&name)
    };
    assert!(native.split(", ").all(is_integer), "{native}");
    let (mut error, mut signal) = (0f32, 0f32);
    for (a, b) in before.iter().flatten().zip(after.iter().flatten()) {
        error += (a - b).powi(2);
        signal += a * a;
    }
    assert!(error < signal / 300.0, "{error} of {signal}");
    assert!(report.score_sqnr > 20.0, "{}", report.score_sqnr);
    assert!(report.layers.iter().all(|layer| layer.sqnr > 15.0), "{:?}", report.layers);
    assert!(report.in_float.is_empty());
}

#[test]
fn padding_and_normalisation_are_folded_and_every_layer_is_placed() {
    let Quantized { model, report } = quantized(network::float(7), 1.0).unwrap();
    let found = operators(&model);
    for gone in ["Pad", "BatchNormalization", "Constant", "Concat"] {
        assert!(!found.contains(&gone), "{gone}: {found:?}");
    }
    let layers: Vec<&str> = report.layers.iter().map(|layer| layer.operator.as_str()).collect();
    let expected = [
        "Conv",
        "Conv",
        "Conv",
        "Add",
        "GlobalAveragePool",
        "Conv",
        "Mul",
        "GlobalAveragePool",
        "Gemm",
    ];
    assert_eq!(layers, expected);
    let weights = model.graph.initializer.iter().filter(|tensor| tensor.name.ends_with(".int8"));
    assert_eq!(weights.count(), 5);
    assert_eq!(model.graph.output[0].name, "logits");
}

#[test]
fn the_same_pictures_give_the_same_bytes() {
    let [first, second] = [(); 2].map(|()| quantized(network::float(7), 1.0).unwrap().model);
    assert_eq!(first.write_to_bytes().unwrap(), second.write_to_bytes().unwrap());
}

/// No change at all is allowed: layers stay in float until there is none, and are named.
#[test]
fn layers_stay_in_float_within_the_budget() {
    let float = network::near_ties();
    let all = quantized(float.clone(), 1.0).unwrap().report;
    assert!(all.agreeing < all.pictures, "{} of {}", all.agreeing, all.pictures);
    match quantized(float, 0.0) {
        Ok(Quantized { report, .. }) => {
            assert_eq!(report.agreeing, report.pictures);
            assert!(!report.in_float.is_empty());
        }
        Err(Error::Budget { kept, .. }) => assert!(kept > 0),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn what_cannot_be_quantised_is_refused_by_name() {
    let once = quantized(network::float(7), 1.0).unwrap().model;
    let refused = |model| quantized(model, 1.0).unwrap_err().to_string();
    let message = refused(once);
    assert!(
        message.contains("already quantised") && message.contains("DequantizeLinear"),
        "{message}"
    );
    let message = refused(network::without_products());
    assert!(message.contains("no Conv, Gemm or MatMul"), "{message}");
    let mut old = network::float(7);
    old.opset_import[0].version = 12;
    let message = refused(old);
    assert!(message.contains("opset 12") && message.contains("13"), "{message}");
    let nothing = quantize(network::float(7), MANIFEST, &[], &Settings::default(), &Silent);
    assert!(matches!(nothing, Err(Error::NoPictures)));
}

/// Weights that stay in float are float16 where those of the file are.
#[test]
fn float16_weights_are_read() {
    let mut half = network::float(7);
    derm_onnx::narrow(&mut half).unwrap();
    let report = quantized(half, 1.0).unwrap().report;
    assert!(report.half && report.score_sqnr > 20.0, "{}", report.score_sqnr);
}
