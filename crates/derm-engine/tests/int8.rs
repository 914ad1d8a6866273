//! Operators between DequantizeLinear and QuantizeLinear: computed in integers, with tract's results.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Graph, assert_equals_tract, no_weights, values};
use derm_engine::graph_ops::{ConvInputGradient, Dequantize, Quantize};
use derm_engine::{Engine, Isa, Options, PackedWeightCache, Passes};
use tract_onnx::prelude::tract_ndarray::ArrayD;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::AxisOp;
use tract_onnx::tract_core::ops::array::{MultiBroadcastTo, Slice, TypedConcat};
use tract_onnx::tract_core::ops::cnn::conv::KernelFormat;
use tract_onnx::tract_core::ops::cnn::{Conv, MaxPool, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::nn::{self, DataFormat};
use tract_onnx::tract_core::ops::{downsample::Downsample, math};

/// Channels last, as the engine computes.
const SHAPE: [usize; 4] = [1, 6, 5, 8];

/// The scale of the input.
const X_SCALE: f32 = 0.0117;

/// Quantises, and dequantises.
fn quantized(graph: &mut Graph, x: OutletId, scale: f32, zero_point: i32) -> OutletId {
    let q = graph.node(Quantize::new(scale, zero_point, false).unwrap(), &[x]);
    dequantized(graph, q, scale, zero_point)
}

fn dequantized(graph: &mut Graph, q: OutletId, scale: f32, zero_point: i32) -> OutletId {
    graph.node(Dequantize::new(vec![scale], vec![zero_point], 0, &[]).unwrap(), &[q])
}

/// Weights with a scale for each output channel, and a bias of 32 bits for a convolution of a value of
/// `x_scale`.
fn parameters(graph: &mut Graph, shape: &[usize], x_scale: f32, seed: u64) -> [OutletId; 2] {
    let mut random = fastrand::Rng::with_seed(seed);
    let count = shape.iter().product();
    let flat = (0..count).map(|_| random.i8(-127..=127)).collect();
    let stored = graph.constant(ArrayD::from_shape_vec(shape, flat).unwrap().into_tensor());
    let scales: Vec<f32> = (0..shape[0]).map(|_| 0.002 + 0.002 * random.f32()).collect();
    let of_sums = scales.iter().map(|scale| x_scale * scale).collect();
    let zeros = vec![0; shape[0]];
    let weights = Dequantize::new(scales, zeros.clone(), 0, shape).unwrap();
    let bias: Vec<i32> = (0..shape[0]).map(|_| random.i32(-9000..9000)).collect();
    let bias = graph.constant(tensor1(&bias));
    let of_bias = Dequantize::new(of_sums, zeros, 0, &shape[..1]).unwrap();
    [graph.node(weights, &[stored]), graph.node(of_bias, &[bias])]
}

fn pool_spec(strides: usize) -> PoolSpec {
    let padding = PaddingSpec::SameUpper;
    PoolSpec::new(DataFormat::NHWC, tvec!(3, 3), padding, None, Some(tvec!(strides, strides)), 8, 8)
}

fn convolved(graph: &mut Graph, x: OutletId, group: usize, seed: u64) -> OutletId {
    let [weights, bias] = parameters(graph, &[8, 8 / group, 3, 3], X_SCALE, seed);
    let conv = Conv::new(pool_spec(1), KernelFormat::OIHW, group, None);
    graph.node(conv, &[x, weights, bias])
}

/// A graph from a quantised input; `native`: the integer operations that it is to become.
fn check(what: &str, native: &[&str], write: impl FnOnce(&mut Graph, OutletId) -> OutletId) {
    let mut graph = Graph::new();
    let input = graph.input(&SHAPE);
    let x = quantized(&mut graph, input, X_SCALE, 128);
    let output = write(&mut graph, x);
    let model = graph.finish(&[output]);
    assert_equals_tract(what, &model, &[values(&SHAPE, 1)]);
    let mut cache = PackedWeightCache::default();
    let engine =
        Engine::compile(&model, &no_weights(), &[0, 1, 2, 3], Options::default(), &mut cache)
            .unwrap();
    let operators = engine.operators();
    assert!(operators.fallback.is_empty(), "{what}: {:?}", operators.fallback);
    let found: Vec<&str> = operators.native.into_iter().collect();
    let mut expected = [native, &["Dequantize", "Quantize"]].concat();
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(found, expected, "{what}");
}

#[test]
fn convolutions() {
    for (what, group) in [("dense", 1), ("in groups", 2), ("depthwise", 8)] {
        check(what, &["Int8Conv"], |graph, x| {
            let y = convolved(graph, x, group, 7);
            quantized(graph, y, 0.05, 120)
        });
    }
}

#[test]
fn activations_become_bounds_and_tables() {
    check("clamped", &["Int8Conv"], |graph, x| {
        let y = convolved(graph, x, 1, 7);
        let (zero, six) =
            (graph.constant(values(&[1, 1, 1, 1], 3)), graph.constant(tensor4(&[[[[2f32]]]])));
        let y = graph.node(math::max(), &[y, zero]);
        let y = graph.node(math::min(), &[y, six]);
        quantized(graph, y, 0.02, 30)
    });
    check("SiLU of three nodes", &["Int8Conv"], |graph, x| {
        let y = convolved(graph, x, 1, 7);
        let y = quantized(graph, y, 0.05, 120);
        let gate = graph.node(nn::sigmoid(), &[y]);
        let gate = quantized(graph, gate, 1.0 / 255.0, 0);
        let y = graph.node(math::mul(), &[y, gate]);
        quantized(graph, y, 0.031, 20)
    });
    check("a table", &["Int8Table"], |graph, x| {
        let y = graph.node(math::tanh(), &[x]);
        quantized(graph, y, 0.008, 127)
    });
}

#[test]
fn sums_and_products() {
    for (what, op) in [("sum", math::add()), ("difference", math::sub())] {
        check(what, &["Int8Conv"], |graph, x| {
            let y = convolved(graph, x, 1, 7);
            let y = quantized(graph, y, 0.05, 120);
            let y = graph.node(op, &[x, y]);
            quantized(graph, y, 0.057, 110)
        });
    }
    check("a product with a value for each channel", &["Int8Mul", "Int8Pool"], |graph, x| {
        let reduce = nn::Reduce::new(tvec!(1, 2), nn::Reducer::Sum);
        let mean = graph.node(reduce, &[x]);
        let count = graph.constant(tensor4(&[[[[1f32 / 30.0]]]]));
        let mean = graph.node(math::mul(), &[mean, count]);
        let mean = quantized(graph, mean, 0.0031, 99);
        let y = graph.node(math::mul(), &[x, mean]);
        quantized(graph, y, 0.0053, 125)
    });
}

#[test]
fn poolings_and_layout() {
    check("largest", &["Int8Pool"], |graph, x| {
        let y = graph.node(MaxPool { pool_spec: pool_spec(2), with_index_outputs: None }, &[x]);
        quantized(graph, y, X_SCALE, 128)
    });
    check("parts one after the other", &["Copy", "Int8Table"], |graph, x| {
        let y = graph.node(math::neg(), &[x]);
        let y = quantized(graph, y, 0.02, 100);
        let y = graph.node(TypedConcat { axis: 3 }, &[x, y]);
        quantized(graph, y, 0.019, 101)
    });
    check("sections", &["Copy"], |graph, x| {
        let y = graph.node(Slice::new(1, 2, 5), &[x]);
        let y = graph.node(Downsample { axis: 2, stride: 2, modulo: 1 }, &[y]);
        let y = graph.node(AxisOp::Rm(0), &[y]);
        quantized(graph, y, X_SCALE, 128)
    });
    // A Resize by whole factors to the nearest pixel, as tract writes it.
    check("pixels repeated", &["Copy"], |graph, x| {
        let y = graph.node(AxisOp::Add(2), &[x]);
        let y = graph.node(AxisOp::Add(4), &[y]);
        let y = graph.node(MultiBroadcastTo { shape: tvec!(1, 6, 2, 5, 3, 8).into() }, &[y]);
        let rows = AxisOp::Reshape(1, tvec!(6.into(), 2.into()), tvec!(12.into()));
        let y = graph.node(rows, &[y]);
        let columns = AxisOp::Reshape(2, tvec!(5.into(), 3.into()), tvec!(15.into()));
        let y = graph.node(columns, &[y]);
        quantized(graph, y, X_SCALE, 128)
    });
    check("pixels repeated too often to be copied", &["Binary"], |graph, x| {
        let y = graph.node(AxisOp::Add(2), &[x]);
        let y = graph.node(MultiBroadcastTo { shape: tvec!(1, 6, 90, 5, 8).into() }, &[y]);
        quantized(graph, y, X_SCALE, 128)
    });
}

/// What is read as float32 too is computed twice.
#[test]
fn a_value_that_is_read_as_float_too() {
    check("read twice", &["Binary", "Conv", "Int8Conv"], |graph, x| {
        let y = convolved(graph, x, 1, 7);
        let q = quantized(graph, y, 0.05, 120);
        graph.node(math::mul(), &[q, y])
    });
}

#[test]
fn operators_that_have_no_integer_form_are_computed_as_floats() {
    check("the larger of two", &["Binary", "Int8Conv"], |graph, x| {
        let y = convolved(graph, x, 1, 7);
        let y = quantized(graph, y, 0.05, 120);
        let y = graph.node(math::max(), &[x, y]);
        quantized(graph, y, 0.05, 99)
    });
}

/// The gradient of a convolution that is computed in integers reads its weights packed for float
/// arithmetic, in 8 bits too.
#[test]
fn a_gradient_takes_a_byte_for_each_weight() {
    let model = |has_gradient: bool| {
        let mut graph = Graph::new();
        let input = graph.input(&SHAPE);
        let x = quantized(&mut graph, input, X_SCALE, 128);
        let [weights, bias] = parameters(&mut graph, &[8, 8, 3, 3], X_SCALE, 7);
        let conv = Conv::new(pool_spec(1), KernelFormat::OIHW, 1, None);
        let y = graph.node(conv.clone(), &[x, weights, bias]);
        let y = quantized(&mut graph, y, 0.05, 120);
        if !has_gradient {
            return graph.finish(&[y]);
        }
        let op = ConvInputGradient { conv, input_shape: SHAPE.into() };
        let gradient = graph.node(op, &[y, weights]);
        graph.finish(&[y, gradient])
    };
    assert_equals_tract("a gradient", &model(true), &[values(&SHAPE, 1)]);
    for isa in Isa::available() {
        let [without, with] = [false, true].map(|has_gradient| {
            let options = Options { isa, ..Options::default() };
            let mut cache = PackedWeightCache::default();
            let model = model(has_gradient);
            Engine::compile(&model, &no_weights(), &[0, 1, 2, 3], options, &mut cache)
                .unwrap()
                .weight_bytes()
        });
        // A panel may be twice as wide as there are channels, which take five bytes more each.
        let width = 8.max(isa.lanes());
        assert_eq!(with - without, width * (8 * 9 + 5), "{isa:?}");
    }
}

/// As deep as no recursion could follow, each node being read by a QuantizeLinear too.
#[test]
fn a_deep_graph_takes_no_stack() {
    let mut graph = Graph::new();
    let input = graph.input(&[1, 1, 1, 2]);
    let mut x = quantized(&mut graph, input, 0.01, 128);
    let other = x;
    for _ in 0..4_000 {
        x = graph.node(math::max(), &[x, other]);
        let q = graph.node(Quantize::new(0.01, 128, false).unwrap(), &[x]);
        let _unread = dequantized(&mut graph, q, 0.01, 128);
    }
    let model = graph.finish(&[x]);
    let options = Options { passes: Passes::NONE, ..Options::default() };
    let mut cache = PackedWeightCache::default();
    Engine::compile(&model, &no_weights(), &[0, 1, 2, 3], options, &mut cache).unwrap();
}
