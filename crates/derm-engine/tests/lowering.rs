//! Each operator, lowered and run, against tract's own evaluation of it.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Graph, assert_equals_tract, values};
use derm_engine::Unary;
use derm_engine::graph_ops::{Derivative, Function};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::array::{
    Gather, MultiBroadcastTo, Pad, PadMode, Slice, Topk, TypedConcat,
};
use tract_onnx::tract_core::ops::cnn::conv::KernelFormat;
use tract_onnx::tract_core::ops::cnn::{Conv, MaxPool, PaddingSpec, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::downsample::Downsample;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::nn::{
    self, DataFormat, Reduce, Reducer, RmsNorm, Softmax, SoftmaxKind,
};
use tract_onnx::tract_core::ops::{cast, math};

/// Checks an operator of the input and of constants.
fn check(what: &str, op: impl Into<Box<dyn TypedOp>>, input: &[usize], constants: &[Tensor]) {
    let mut graph = Graph::new();
    let mut operands = vec![graph.input(input)];
    operands.extend(constants.iter().map(|constant| graph.constant(constant.clone())));
    let output = graph.node(op, &operands);
    assert_equals_tract(what, &graph.finish(&[output]), &[values(input, 1)]);
}

/// Windows of several shapes over 4 channels of 7 x 6.
fn windows(outputs: usize) -> Vec<(String, PoolSpec, Vec<usize>)> {
    let padded = || PaddingSpec::Explicit(tvec!(1, 0), tvec!(1, 1));
    let geometries = [
        ("1x1", tvec!(1, 1), PaddingSpec::Valid, tvec!(1, 1), tvec!(1, 1)),
        ("2x2 by 2", tvec!(2, 2), PaddingSpec::Valid, tvec!(1, 1), tvec!(2, 2)),
        ("3x3 padded", tvec!(3, 3), padded(), tvec!(1, 1), tvec!(1, 1)),
        ("3x3 padded, by 2x1", tvec!(3, 3), padded(), tvec!(1, 1), tvec!(2, 1)),
        ("2x3 same", tvec!(2, 3), PaddingSpec::SameUpper, tvec!(1, 1), tvec!(1, 2)),
        ("2x2 dilated", tvec!(2, 2), PaddingSpec::Valid, tvec!(2, 1), tvec!(1, 1)),
    ];
    let formats = [
        (DataFormat::NCHW, vec![1, 4, 7, 6]),
        (DataFormat::NHWC, vec![1, 7, 6, 4]),
        (DataFormat::CHW, vec![4, 7, 6]),
    ];
    let mut specs = Vec::new();
    for (name, kernel, padding, dilations, strides) in geometries {
        for (format, shape) in &formats {
            let (dilations, strides) = (Some(dilations.clone()), Some(strides.clone()));
            let spec = PoolSpec::new(
                *format,
                kernel.clone(),
                padding.clone(),
                dilations,
                strides,
                4,
                outputs,
            );
            specs.push((format!("{name} {format:?}"), spec, shape.clone()));
        }
    }
    specs
}

#[test]
fn convolution() {
    for groups in [1, 2, 4] {
        for (name, spec, shape) in windows(8) {
            let [rows, columns] = spec.kernel_shape[..] else { panic!("two axes") };
            let weights = values(&[8, 4 / groups, rows, columns], 2);
            let conv = Conv::new(spec, KernelFormat::OIHW, groups, None);
            let what = format!("convolution {name}, {groups} groups");
            check(&what, conv, &shape, &[weights, values(&[8], 3)]);
        }
    }
}

#[test]
fn depthwise_convolution() {
    for (name, spec, shape) in windows(4) {
        let [rows, columns] = spec.kernel_shape[..] else { panic!("two axes") };
        let weights = values(&[4, 1, rows, columns], 2);
        let conv = Conv::new(spec, KernelFormat::OIHW, 4, None);
        let what = format!("depthwise convolution {name}");
        check(&what, conv, &shape, &[weights, values(&[4], 3)]);
    }
}

#[test]
fn convolution_over_one_axis() {
    let spec = PoolSpec::new(DataFormat::NCHW, tvec!(3), PaddingSpec::Valid, None, None, 4, 8);
    let conv = Conv::new(spec, KernelFormat::OIHW, 1, None);
    let constants = [values(&[8, 4, 3], 2), tensor0(0.5f32)];
    check("convolution over one axis", conv, &[1, 4, 9], &constants);
}

#[test]
fn convolution_of_weights_that_are_computed() {
    let mut graph = Graph::new();
    let input = graph.input(&[1, 4, 7, 6]);
    let spec = PoolSpec::new(DataFormat::NCHW, tvec!(3, 3), PaddingSpec::Valid, None, None, 4, 8);
    let weights = graph.constant(values(&[8, 4, 3, 3], 2));
    let doubled = graph.node(math::add(), &[weights, weights]);
    let bias = graph.constant(values(&[8], 3));
    let output = graph.node(Conv::new(spec, KernelFormat::OIHW, 1, None), &[input, doubled, bias]);
    let model = graph.finish(&[output]);
    assert_equals_tract("convolution of computed weights", &model, &[values(&[1, 4, 7, 6], 1)]);
}

#[test]
fn pooling() {
    for (name, spec, shape) in windows(4) {
        let max = MaxPool { pool_spec: spec.clone(), with_index_outputs: None };
        check(&format!("maximum pooling {name}"), max, &shape, &[]);
        for (count_include_pad, normalize) in [(true, true), (false, true), (true, false)] {
            let sum = SumPool { pool_spec: spec.clone(), count_include_pad, normalize };
            check(&format!("pooling {name}, {count_include_pad} {normalize}"), sum, &shape, &[]);
        }
    }
}

#[test]
fn unary() {
    let leaky = nn::leaky_relu(0.1);
    for op in [
        nn::sigmoid(),
        nn::silu::silu(),
        nn::hard_swish(),
        nn::gelu_exact::gelu_exact(),
        leaky,
        math::tanh(),
        math::square(),
        math::exp(),
        math::neg(),
        math::abs(),
        math::erf(),
    ] {
        check(&format!("unary {}", op.name()), op.clone(), &[2, 3, 5], &[]);
    }
    for op in [math::sqrt(), math::rsqrt(), math::recip(), math::ln()] {
        let mut graph = Graph::new();
        let input = graph.input(&[2, 3, 5]);
        let positive = graph.node(math::exp(), &[input]);
        let output = graph.node(op.clone(), &[positive]);
        let what = format!("unary {} of an exponential", op.name());
        assert_equals_tract(&what, &graph.finish(&[output]), &[values(&[2, 3, 5], 1)]);
    }
    for function in [Unary::Celu(0.5), Unary::Celu(2.0), Unary::Swish(1.5), Unary::Swish(-1.0)] {
        check(&format!("{function:?}"), Function::elementwise(function), &[2, 3, 5], &[]);
    }
    check("cast", cast::cast(DatumType::F32), &[2, 3], &[]);
}

#[test]
fn binary() {
    let shapes: [&[usize]; 5] = [&[2, 3, 4], &[1, 1, 1], &[1, 3, 1], &[2, 1, 4], &[1, 1, 4]];
    for op in [math::add, math::sub, math::mul, math::div, math::max, math::min] {
        let name = op().name();
        for shape in shapes {
            let constant = values(shape, 2);
            let what = format!("{name} with a constant {shape:?}");
            check(&what, op(), &[2, 3, 4], std::slice::from_ref(&constant));
            let mut graph = Graph::new();
            let (left, right) = (graph.constant(constant), graph.input(&[2, 3, 4]));
            let output = graph.node(op(), &[left, right]);
            let what = format!("{name} of a constant {shape:?} and a value");
            assert_equals_tract(&what, &graph.finish(&[output]), &[values(&[2, 3, 4], 1)]);

            let mut graph = Graph::new();
            let input = graph.input(&[2, 3, 4]);
            // A second value of the other shape.
            let axes: TVec<usize> = (0..3).filter(|&axis| shape[axis] == 1).collect();
            let other = graph.node(Reduce { axes, reducer: Reducer::Sum }, &[input]);
            let output = graph.node(op(), &[input, other]);
            let what = format!("{name} of two values, the second {shape:?}");
            assert_equals_tract(&what, &graph.finish(&[output]), &[values(&[2, 3, 4], 1)]);
        }
    }
}

#[test]
fn reduction_softmax_and_normalisation() {
    for axes in [tvec!(0), tvec!(1), tvec!(2), tvec!(0, 1), tvec!(0, 2), tvec!(0, 1, 2)] {
        for reducer in [Reducer::Sum, Reducer::Max, Reducer::MeanOfSquares, Reducer::Min] {
            let what = format!("{reducer:?} over {axes:?}");
            check(&what, Reduce { axes: axes.clone(), reducer }, &[2, 3, 4], &[]);
        }
        let kind = SoftmaxKind::Softmax;
        let softmax = Softmax { axes: axes.clone(), quant_output_dt: None, kind };
        check(&format!("softmax over {axes:?}"), softmax, &[2, 3, 4], &[]);
    }
    for axis in 0..3 {
        let eps = Arc::new(tensor0(1e-5f32));
        check(&format!("RMS normalisation over {axis}"), RmsNorm { axis, eps }, &[2, 3, 4], &[]);
    }
}

#[test]
fn axes_renamed() {
    for op in [
        AxisOp::Add(0),
        AxisOp::Add(2),
        AxisOp::Rm(1),
        AxisOp::Move(0, 3),
        AxisOp::Move(3, 1),
        AxisOp::Reshape(2, tvec!(3.into(), 4.into()), tvec!(12.into())),
        AxisOp::Reshape(3, tvec!(4.into()), tvec!(2.into(), 2.into())),
    ] {
        // Behind a transposition, so that the axes do not lie in the graph's order.
        let mut graph = Graph::new();
        let input = graph.input(&[3, 2, 4, 1]);
        let moved = graph.node(AxisOp::Move(1, 0), &[input]);
        let moved = graph.node(AxisOp::Move(3, 1), &[moved]);
        let output = graph.node(op.clone(), &[moved]);
        let what = format!("{op:?}");
        assert_equals_tract(&what, &graph.finish(&[output]), &[values(&[3, 2, 4, 1], 1)]);
    }
}

#[test]
fn slices_and_concatenation() {
    check("slice", Slice::new(1, 1, 3), &[2, 4, 3], &[]);
    check("downsample", Downsample { axis: 1, stride: 2, modulo: 1 }, &[2, 5, 3], &[]);
    check("concatenation", TypedConcat { axis: 1 }, &[2, 4, 3], &[values(&[2, 2, 3], 5)]);
    let shape = ShapeFact::from(&[2usize, 4, 3][..]);
    check("broadcast", MultiBroadcastTo { shape }, &[2, 1, 3], &[]);
}

#[test]
fn padding() {
    for pads in [
        vec![(0, 0), (0, 0), (1, 2), (2, 0)],
        vec![(0, 0), (0, 0), (0, 0), (0, 1)],
        vec![(0, 0), (1, 1), (0, 0), (0, 0)],
        vec![(1, 0), (0, 0), (0, 0), (2, 0)],
    ] {
        let mode = PadMode::Constant(Arc::new(tensor0(0.5f32)));
        check(&format!("padding {pads:?}"), Pad { pads, mode }, &[1, 3, 4, 5], &[]);
    }
    let pads = vec![(0, 0), (0, 0), (1, 2), (2, 0)];
    check("reflection", Pad { pads, mode: PadMode::Reflect }, &[1, 3, 4, 5], &[]);
}

#[test]
fn product_with_a_constant() {
    for (expression, left, right) in [
        ("mk,kn->mn", vec![5, 6], vec![6, 7]),
        ("mk,nk->mn", vec![5, 6], vec![7, 6]),
        ("bmk,bkn->bmn", vec![2, 5, 6], vec![2, 6, 7]),
        ("bmk,kn->bmn", vec![2, 5, 6], vec![6, 7]),
        ("km,kn->nm", vec![6, 5], vec![6, 7]),
    ] {
        let einsum = EinSum::new(expression.parse().unwrap(), f32::datum_type());
        check(&format!("{expression} with a constant"), einsum, &left, &[values(&right, 2)]);
    }
}

#[test]
fn product_of_values() {
    for (expression, left, right) in [
        ("bmk,bkn->bmn", [2, 5, 6], [2, 6, 7]),
        ("bmk,bnk->bmn", [2, 5, 6], [2, 7, 6]),
        ("mbk,nbk->bmn", [5, 2, 6], [7, 2, 6]),
    ] {
        let mut graph = Graph::new();
        let a = graph.input(&left);
        // The second operand grows out of the first: zeros of it, and a constant.
        let axes: TVec<usize> = (0..3).collect();
        let one = graph.node(Reduce { axes, reducer: Reducer::Sum }, &[a]);
        let constant = graph.constant(values(&right, 2));
        let b = graph.node(math::mul(), &[one, constant]);
        let einsum = EinSum::new(expression.parse().unwrap(), f32::datum_type());
        let output = graph.node(einsum, &[a, b]);
        let what = format!("{expression} of two values");
        assert_equals_tract(&what, &graph.finish(&[output]), &[values(&left, 1)]);
    }
}

#[test]
fn fallback_operators() {
    let indices = tensor1(&[2i64, 0, 1, 2]);
    check("gather", Gather::new(1), &[2, 3, 4], &[indices]);
    // Its second output is not float32.
    let mut graph = Graph::new();
    let input = graph.input(&[2, 6]);
    let count = graph.constant(tensor0(3i64));
    let topk = Topk { axis: 1, largest: true, fallback_k: 3.into() };
    let outputs = graph.wire(topk, &[input, count]);
    let index = graph.node(cast::cast(DatumType::F32), &outputs[1..]);
    let sum = graph.node(math::add(), &[outputs[0], index]);
    assert_equals_tract("top-k and its indices", &graph.finish(&[sum]), &[values(&[2, 6], 1)]);
}

#[test]
fn integers_and_axes_of_length_zero_are_left_to_tract() {
    let mut graph = Graph::new();
    let input = graph.input(&[5, 6]);
    let integers = graph.node(cast::cast(DatumType::I32), &[input]);
    let matrix = Tensor::zero::<i32>(&[6, 7]).unwrap();
    let matrix = graph.constant(matrix);
    let einsum = EinSum::new("mk,kn->mn".parse().unwrap(), i32::datum_type());
    let product = graph.node(einsum, &[integers, matrix]);
    let output = graph.node(cast::cast(DatumType::F32), &[product]);
    assert_equals_tract("integer product", &graph.finish(&[output]), &[values(&[5, 6], 1)]);

    let mut graph = Graph::new();
    let input = graph.input(&[1, 3, 4]);
    let nothing = graph.node(Slice::new(2, 1, 1), &[input]);
    let output = graph.node(TypedConcat { axis: 2 }, &[nothing, input]);
    assert_equals_tract("nothing and a value", &graph.finish(&[output]), &[values(&[1, 3, 4], 1)]);
}

/// The derivative of a value times the value itself: neither may overwrite the other.
#[test]
fn a_derivative_of_its_own_gradient() {
    let mut graph = Graph::new();
    let input = graph.input(&[2, 3]);
    let value = graph.node(math::neg(), &[input]);
    let derivative = Derivative::of(&nn::sigmoid()).unwrap();
    let output = graph.node(derivative, &[value, value]);
    let last = graph.node(math::neg(), &[output]);
    assert_equals_tract("x sigmoid'(x)", &graph.finish(&[last]), &[values(&[2, 3], 1)]);
}

/// The constant is copied into a buffer once, however often it is read.
#[test]
fn a_constant_that_two_steps_read_is_copied_once() {
    let mut graph = Graph::new();
    let input = graph.input(&[1, 3, 4]);
    let constant = graph.constant(values(&[1, 2, 4], 2));
    let first = graph.node(TypedConcat { axis: 1 }, &[input, constant]);
    let second = graph.node(TypedConcat { axis: 1 }, &[constant, input]);
    let output = graph.node(math::add(), &[first, second]);
    let model = graph.finish(&[output]);
    assert_equals_tract("two concatenations", &model, &[values(&[1, 3, 4], 1)]);
    let mut cache = derm_engine::PackedWeightCache::default();
    let options = derm_engine::Options::default();
    let weights = common::no_weights();
    let engine =
        derm_engine::Engine::compile(&model, &weights, &[0, 1, 2], options, &mut cache).unwrap();
    assert_eq!(engine.weight_bytes(), 2 * 4 * size_of::<f32>());
}
