//! Quantised networks of the zoo answer what onnxruntime answers: `models/zoo/int8.py` writes them and
//! its answers to `target/zoo/NAME.int8` (QDQ), `NAME.qoperator` and `NAME.weight-only`; where they are not, nothing is compared.

#![allow(clippy::unwrap_used, missing_docs)]

use derm_model::{EngineOptions, Graph, Isa, ModelSource, PackedWeightCache, Plan, ThreadPool};
use std::path::{Path, PathBuf};

const NAMES: [&str; 4] = [
    "efficientnet-lite0.opset13",
    "mobilenetv2.opset13",
    "resnet50.opset13",
    "efficientnetv2-s.opset13",
];

struct Expected {
    scores: Vec<f32>,
    layer: Option<Layer>,
}

/// What the last product reads.
struct Layer {
    name: String,
    scale: f32,
    zero_point: i64,
    values: Vec<i64>,
}

fn expected(folder: &Path) -> Option<Expected> {
    let text = std::fs::read_to_string(folder.join("expected.json")).ok()?;
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let numbers = |key: &str| json[key].as_array().unwrap().iter();
    let layer = json["layer"].as_str().map(|name| Layer {
        name: name.to_owned(),
        scale: json["scale"].as_f64().unwrap() as f32,
        zero_point: json["zero_point"].as_i64().unwrap(),
        values: numbers("values").map(|v| v.as_i64().unwrap()).collect(),
    });
    Some(Expected {
        scores: numbers("scores").map(|v| v.as_f64().unwrap() as f32).collect(),
        layer,
    })
}

/// Those that are computed in integers, and those of which only the weights are.
const INTEGERS: &[&str] = &["int8", "qoperator"];
const WEIGHTS: &[&str] = &["weight-only"];

fn present(formats: &'static [&str]) -> impl Iterator<Item = (PathBuf, Expected)> {
    let folders =
        NAMES.iter().flat_map(|name| formats.iter().map(move |of| format!("{name}.{of}")));
    folders.filter_map(|name| {
        let folder = derm_zoo::folder().join(name);
        let expected = expected(&folder)?;
        Some((folder, expected))
    })
}

/// The largest difference of a probability, and the share of the last product's inputs, if they are known, that are
/// other integers.
fn differences(folder: &Path, expected: &Expected, options: &EngineOptions) -> (f32, f64) {
    let kept: Vec<&str> = expected.layer.iter().map(|layer| layer.name.as_str()).collect();
    let graph = Graph::load_keeping(&ModelSource::at(folder), &kept).unwrap();
    let manifest = graph.manifest();
    let plan = Plan::new(&graph, options, &mut PackedWeightCache::default()).unwrap();
    let picture = derm_zoo::picture(manifest.input.shape());
    let fill = |to: &mut [f32]| {
        let rows = picture.view().permuted_axes([0, 2, 3, 1]);
        to.iter_mut().zip(rows).for_each(|(to, value)| *to = *value);
    };
    let run = plan.run(fill).unwrap();
    let scores: Vec<f32> = run.output(0).iter().copied().collect();
    let ours = manifest.probabilities(&scores);
    let theirs = manifest.probabilities(&expected.scores);
    let probability = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let Some(layer) = &expected.layer else { return (probability, 0.0) };
    let values = run.output(1);
    assert_eq!(values.len(), layer.values.len());
    let number = |value: &f32| (value / layer.scale).round() as i64 + layer.zero_point;
    let off = values.iter().zip(&layer.values).filter(|(a, b)| number(a) != **b).count();
    (probability, off as f64 / values.len() as f64)
}

#[test]
fn quantised_networks_answer_as_onnxruntime_does() {
    for (folder, expected) in present(INTEGERS).chain(present(WEIGHTS)) {
        let (probability, off) = differences(&folder, &expected, &EngineOptions::default());
        assert!(probability <= 0.01, "{}: {probability}", folder.display());
        assert!(off <= 0.001, "{}: {off}", folder.display());
    }
}

/// Every instruction set of this machine and two threads give the same integers.
#[test]
fn other_settings_change_no_integer() {
    for (folder, expected) in present(INTEGERS).take(2) {
        let base = differences(&folder, &expected, &EngineOptions::default());
        for isa in Isa::available() {
            let options =
                EngineOptions { isa, threads: ThreadPool::new(2), ..EngineOptions::default() };
            let found = differences(&folder, &expected, &options);
            assert_eq!(found, base, "{}: {isa:?}", folder.display());
        }
    }
}
