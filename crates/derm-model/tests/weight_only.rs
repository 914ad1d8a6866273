//! Weight-only quantisation: 8-bit weights that are dequantised for float operators stay 8 bits in memory,
//! and the answers are those of the float32 weights that they stand for.

#![allow(clippy::unwrap_used, missing_docs)]

mod network;

use derm_model::{EngineOptions, Graph, Isa, ModelSource, PackedWeightCache, Plan, Precision};
use network::{FLOAT, INT8, Network, UINT8};
use std::path::Path;

const MANIFEST: &str = "name = \"test\"\noutput = \"logits\"\n[input]\nheight = 26\nwidth = 26\n\
    mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\nfit = \"stretch\"\n\
    [[classes]]\nid = \"a\"\n[[classes]]\nid = \"b\"\n";

/// How weights are written.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// Integers and a `DequantizeLinear`.
    Quantised,
    /// The numbers that these stand for.
    Float,
}

/// A network that is being written, and how many weights it has.
struct Writer {
    network: Network,
    form: Form,
    weights: usize,
}

/// Weights: their name, type, shape, and the axis along which scales and zero points vary.
struct Weights {
    name: &'static str,
    element: i32,
    shape: &'static [i64],
    axis: Option<usize>,
    zero_points: &'static [f64],
}

impl Writer {
    fn weights(&mut self, weights: &Weights) {
        let Weights { name, element, shape, axis, zero_points } = weights;
        let count = shape.iter().product::<i64>() as usize;
        self.weights += count;
        let scales = axis.map_or(1, |axis| shape[axis]) as usize;
        let stride = axis.map_or(count, |axis| shape[axis + 1..].iter().product::<i64>() as usize);
        let lowest = if *element == INT8 { -128 } else { 0 };
        let integers: Vec<f64> = (0..count as i64)
            .map(|index| ((index * 29 + index * index * 7) % 256 + lowest) as f64)
            .collect();
        let scale = |channel: usize| (0.7 + 0.01 * channel as f32) / 700.0;
        let zero_point = |channel: usize| zero_points[channel % zero_points.len()];
        if self.form == Form::Float {
            let float = |(index, &q): (usize, &f64)| {
                let channel = index / stride % scales;
                f64::from((q - zero_point(channel)) as f32 * scale(channel))
            };
            let floats: Vec<f64> = integers.iter().enumerate().map(float).collect();
            self.network.tensor(name, FLOAT, shape, &floats);
            return;
        }
        let names = ["integers", "scales", "zero_points"].map(|what| format!("{name}_{what}"));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let channels: &[i64] = if axis.is_some() { &[scales as i64] } else { &[] };
        self.network.tensor(names[0], *element, shape, &integers);
        let all: Vec<f64> = (0..scales).map(|channel| scale(channel).into()).collect();
        self.network.tensor(names[1], FLOAT, channels, &all);
        let all: Vec<f64> = (0..scales).map(zero_point).collect();
        self.network.tensor(names[2], *element, channels, &all);
        self.network.node(&format!("DequantizeLinear:{}", axis.unwrap_or(0)), &names, name);
    }
}

/// Convolutions, one of them depthwise and one large enough for Winograd's method, and products.
fn write(form: Form, folder: &Path) -> usize {
    let mut writer = Writer { network: Network::default(), form, weights: 0 };
    let of = |name, shape, axis| Weights { name, element: INT8, shape, axis, zero_points: &[0.0] };
    writer.network.input("x", FLOAT, &[1, 3, 26, 26]);
    writer.weights(&of("first", &[64, 3, 3, 3], Some(0)));
    writer.weights(&of("depthwise", &[64, 1, 3, 3], Some(0)));
    writer.weights(&Weights {
        zero_points: &[-128.0, 0.0, 3.0, 127.0],
        ..of("second", &[64, 64, 3, 3], Some(0))
    });
    writer.weights(&Weights {
        element: UINT8,
        zero_points: &[131.0],
        ..of("third", &[96, 64, 1, 1], None)
    });
    writer.weights(&Weights {
        element: UINT8,
        zero_points: &[0.0, 128.0, 255.0],
        ..of("product", &[96, 96], Some(1))
    });
    writer.weights(&of("logits_matrix", &[2, 96], Some(0)));
    let network = &mut writer.network;
    network.node("Conv", &["x", "first"], "a");
    network.node("Relu", &["a"], "b");
    network.node("Conv:64", &["b", "depthwise"], "c");
    network.node("Conv", &["c", "second"], "d");
    network.node("Relu", &["d"], "e");
    network.node("Conv", &["e", "third"], "f");
    network.node("GlobalAveragePool", &["f"], "g");
    network.node("Flatten", &["g"], "h");
    network.node("MatMul", &["h", "product"], "i");
    network.node("Gemm", &["i", "logits_matrix"], "logits");
    network.outputs(&[("logits", FLOAT, &[1, 2])]);
    std::fs::write(folder.join("model.onnx"), network.bytes()).unwrap();
    std::fs::write(folder.join("model.toml"), MANIFEST).unwrap();
    writer.weights
}

fn graph(form: Form, folder: &Path) -> (Graph, usize) {
    let weights = write(form, folder);
    (Graph::load(&ModelSource::at(folder)).unwrap(), weights)
}

fn scores(plan: &Plan) -> Vec<f32> {
    let picture = |input: &mut [f32]| {
        let value = |(index, to): (usize, &mut f32)| *to = (index % 23) as f32 / 11.0 - 1.0;
        input.iter_mut().enumerate().for_each(value);
    };
    plan.run(picture).unwrap().output(0).iter().copied().collect()
}

#[test]
fn eight_bit_weights_of_float_operators_take_a_byte_each() {
    let [quantised, float] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (quantised, weights) = graph(Form::Quantised, quantised.path());
    let (float, _) = graph(Form::Float, float.path());
    for isa in Isa::available() {
        // What precision floats are kept in changes nothing about integers.
        for precision in [None, Some(Precision::F32), Some(Precision::F16)] {
            let options = EngineOptions { isa, precision, ..EngineOptions::default() };
            let mut cache = PackedWeightCache::default();
            let plan = Plan::new(&quantised, &options, &mut cache).unwrap();
            let bytes = plan.weight_bytes();
            assert!((weights..weights * 11 / 10).contains(&bytes), "{bytes} of {weights}, {isa:?}");
            let steps = plan.profile().unwrap();
            for kind in ["Winograd", "depthwise", "product"] {
                assert!(
                    steps.iter().any(|step| step.kind.starts_with(kind)),
                    "no {kind}: {steps:?}"
                );
            }

            let options = EngineOptions { precision: Some(Precision::F32), ..options };
            let float = Plan::new(&float, &options, &mut PackedWeightCache::default()).unwrap();
            assert!(float.weight_bytes() >= 4 * weights);
            let [ours, theirs] = [scores(&plan), scores(&float)];
            assert!(ours.iter().all(|score| score.abs() > 1e-3), "{ours:?}");
            assert_eq!(ours.map_bits(), theirs.map_bits(), "{isa:?}");
        }
    }
}

/// Scales that vary along the input channels: the weights are kept as floats.
#[test]
fn scales_of_input_channels_give_the_same_answers() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let forms = [Form::Quantised, Form::Float];
    let found = folders.iter().zip(forms).map(|(folder, form)| {
        let mut writer = Writer { network: Network::default(), form, weights: 0 };
        let of = |name, shape| Weights {
            name,
            element: INT8,
            shape,
            axis: Some(1),
            zero_points: &[0.0, 5.0],
        };
        writer.network.input("x", FLOAT, &[1, 3, 26, 26]);
        writer.weights(&of("filters", &[70, 3, 5, 5]));
        writer.weights(&of("matrix", &[2, 70]));
        writer.network.node("Conv", &["x", "filters"], "a");
        writer.network.node("Relu", &["a"], "b");
        writer.network.node("GlobalAveragePool", &["b"], "c");
        writer.network.node("Flatten", &["c"], "d");
        writer.network.node("Gemm", &["d", "matrix"], "logits");
        writer.network.outputs(&[("logits", FLOAT, &[1, 2])]);
        std::fs::write(folder.path().join("model.onnx"), writer.network.bytes()).unwrap();
        std::fs::write(folder.path().join("model.toml"), MANIFEST).unwrap();
        let graph = Graph::load(&ModelSource::at(folder.path())).unwrap();
        let options = EngineOptions::default();
        let plan = Plan::new(&graph, &options, &mut PackedWeightCache::default()).unwrap();
        scores(&plan)
    });
    let found: Vec<Vec<f32>> = found.collect();
    assert!(found[0].iter().all(|score| score.abs() > 1e-3), "{found:?}");
    assert_eq!(found[0].map_bits(), found[1].map_bits());
}

/// The plans of one model share the weights; the same integers with other scales are other weights.
#[test]
fn weights_are_packed_once_for_each_list_of_scales() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (first, _) = graph(Form::Quantised, folders[0].path());
    let options = EngineOptions::default();
    let mut cache = PackedWeightCache::default();
    let packed = Plan::new(&first, &options, &mut cache).unwrap().packed_bytes();
    let again = Plan::new(&first, &options, &mut cache).unwrap();
    // Small weights are constants of the graph, which have no place in the file.
    assert!(again.packed_bytes() < packed / 10, "{} of {packed}", again.packed_bytes());

    let twice = |scales: [f64; 2]| {
        let mut network = Network::default();
        network.input("x", FLOAT, &[1, 3, 26, 26]);
        let integers: Vec<f64> =
            (0..20280).map(|index| ((index * 31) % 251 - 125) as f64).collect();
        network.tensor("integers", INT8, &[10, 2028], &integers);
        network.tensor("ones", FLOAT, &[2, 20], &[0.05; 40]);
        for (name, scale) in ["p", "q"].into_iter().zip(scales) {
            network.tensor(&format!("{name}_scale"), FLOAT, &[], &[scale]);
            let inputs = ["integers", &format!("{name}_scale")];
            network.node("DequantizeLinear:0", &inputs, &format!("{name}_weights"));
            network.node("Gemm", &["flat", &format!("{name}_weights")], name);
        }
        network.node("Flatten", &["x"], "flat");
        network.node("Concat:1", &["p", "q"], "all");
        network.node("Gemm", &["all", "ones"], "logits");
        network.outputs(&[("logits", FLOAT, &[1, 2])]);
        std::fs::write(folders[1].path().join("model.onnx"), network.bytes()).unwrap();
        std::fs::write(folders[1].path().join("model.toml"), MANIFEST).unwrap();
        let graph = Graph::load(&ModelSource::at(folders[1].path())).unwrap();
        let plan = Plan::new(&graph, &options, &mut PackedWeightCache::default()).unwrap();
        (scores(&plan)[0], plan.weight_bytes())
    };
    let [(one, bytes), (both, more)] = [[0.01, 0.01], [0.01, 0.03]].map(twice);
    assert!(more > bytes + 20280, "{more}, {bytes}");
    assert!((both - 2.0 * one).abs() < 1e-4 * one.abs(), "{both}, {one}");
}

/// Bits of numbers, so that equal means the same.
trait Bits {
    fn map_bits(&self) -> Vec<u32>;
}

impl Bits for Vec<f32> {
    fn map_bits(&self) -> Vec<u32> {
        self.iter().map(|score| score.to_bits()).collect()
    }
}
