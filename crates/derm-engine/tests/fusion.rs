//! What follows a convolution, folded into it or not, against tract's evaluation.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Graph, assert_equals_tract, values};
use derm_engine::graph_ops::Derivative;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::array::{Pad, PadMode, TypedConcat};
use tract_onnx::tract_core::ops::cnn::conv::KernelFormat;
use tract_onnx::tract_core::ops::cnn::{Conv, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{self, DataFormat};

/// Channels last, as the engine computes.
const SHAPE: [usize; 4] = [1, 6, 5, 4];

fn convolve(graph: &mut Graph, input: OutletId, seed: u64) -> OutletId {
    let padding = PaddingSpec::SameUpper;
    let spec = PoolSpec::new(DataFormat::NHWC, tvec!(3, 3), padding, None, None, 4, 4);
    let weights = graph.constant(values(&[4, 4, 3, 3], seed));
    let bias = graph.constant(values(&[4], seed + 1));
    graph.node(Conv::new(spec, KernelFormat::OIHW, 1, None), &[input, weights, bias])
}

/// A convolution followed by operators of the convolution and of what came before it.
fn check(what: &str, follow: impl FnOnce(&mut Graph, OutletId, OutletId) -> OutletId) {
    let mut graph = Graph::new();
    let input = graph.input(&SHAPE);
    let before = graph.node(math::neg(), &[input]);
    let convolved = convolve(&mut graph, before, 7);
    let output = follow(&mut graph, convolved, before);
    assert_equals_tract(what, &graph.finish(&[output]), &[values(&SHAPE, 1)]);
}

#[test]
fn a_constant_is_added() {
    let shapes: [&[usize]; 5] =
        [&[1, 1, 1, 4], &[1, 1, 1, 1], &[1, 1, 5, 1], &[1, 6, 1, 4], &[1, 6, 5, 4]];
    for shape in shapes {
        check(&format!("a constant {shape:?} on the right"), |graph, convolved, _| {
            let constant = graph.constant(values(shape, 2));
            graph.node(math::add(), &[convolved, constant])
        });
        check(&format!("a constant {shape:?} on the left"), |graph, convolved, _| {
            let constant = graph.constant(values(shape, 2));
            graph.node(math::add(), &[constant, convolved])
        });
    }
    check("a constant after an activation", |graph, convolved, _| {
        let constant = graph.constant(values(&[1, 1, 1, 4], 2));
        let activated = graph.node(nn::sigmoid(), &[convolved]);
        graph.node(math::add(), &[activated, constant])
    });
}

#[test]
fn functions_are_applied() {
    check("two clamps", |graph, convolved, _| {
        let [low, high, lower] = [-0.5f32, 0.75, -1.0]
            .map(|bound| graph.constant(tensor0(bound).broadcast_into_rank(4).unwrap()));
        let clamped = graph.node(math::max(), &[convolved, low]);
        let clamped = graph.node(math::min(), &[clamped, high]);
        graph.node(math::max(), &[clamped, lower])
    });
    check("an activation that another operator reads too", |graph, convolved, _| {
        let activated = graph.node(nn::silu::silu(), &[convolved]);
        let squared = graph.node(math::square(), &[activated]);
        graph.node(math::mul(), &[squared, activated])
    });
}

#[test]
fn values_are_added() {
    check("an earlier value", |graph, convolved, before| {
        graph.node(math::add(), &[convolved, before])
    });
    check("itself", |graph, convolved, _| graph.node(math::add(), &[convolved, convolved]));
    check("a later value", |graph, convolved, before| {
        let later = graph.node(math::square(), &[before]);
        graph.node(math::add(), &[later, convolved])
    });
    check("another convolution", |graph, convolved, before| {
        let other = convolve(graph, before, 9);
        let sum = graph.node(math::add(), &[convolved, other]);
        graph.node(math::add(), &[sum, before])
    });
}

#[test]
fn derivatives_are_multiplied() {
    check("the derivative of an earlier value", |graph, convolved, before| {
        let derivative = Derivative::of(&nn::silu::silu()).unwrap();
        graph.node(derivative, &[convolved, before])
    });
    check("the derivative of a later value", |graph, convolved, before| {
        let later = graph.node(math::square(), &[before]);
        let derivative = Derivative::of(&nn::sigmoid()).unwrap();
        graph.node(derivative, &[convolved, later])
    });
}

#[test]
fn what_several_steps_write_is_overwritten_in_place_only_when_it_is_complete() {
    check("a function of a concatenation", |graph, convolved, before| {
        let both = graph.node(TypedConcat { axis: 3 }, &[convolved, before]);
        graph.node(math::neg(), &[both])
    });
    check("a function of a padded value", |graph, convolved, _| {
        let pads = vec![(0, 0), (1, 1), (1, 1), (0, 0)];
        let mode = PadMode::Constant(Arc::new(tensor0(0.5f32)));
        let padded = graph.node(Pad { pads, mode }, &[convolved]);
        graph.node(nn::sigmoid(), &[padded])
    });
}
