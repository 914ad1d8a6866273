//! Phases: what is computed when, and what may be folded across phases and operators.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Graph, assert_equals_tract, by_engine, values};
use derm_engine::{Options, Passes};
use tract_onnx::prelude::tract_ndarray::ArrayD;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::array::Slice;
use tract_onnx::tract_core::ops::cnn::conv::KernelFormat;
use tract_onnx::tract_core::ops::cnn::{Conv, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::DataFormat;

/// Channels last, as convolutions compute: only values that lie alike are added in a convolution.
const SHAPE: [usize; 4] = [1, 6, 5, 4];

/// A convolution of 1x1 that keeps the shape.
fn convolve(graph: &mut Graph, input: OutletId) -> OutletId {
    let spec = PoolSpec::new(DataFormat::NHWC, tvec!(1, 1), PaddingSpec::Valid, None, None, 4, 4);
    let weights = graph.constant(values(&[4, 4, 1, 1], 7));
    let bias = graph.constant(values(&[4], 8));
    graph.node(Conv::new(spec, KernelFormat::OIHW, 1, None), &[input, weights, bias])
}

#[test]
fn the_input_of_a_later_phase_is_not_added_before_it_is_fed() {
    let mut graph = Graph::new();
    let picture = graph.input(&SHAPE);
    let convolved = convolve(&mut graph, picture);
    let later = graph.input(&SHAPE);
    let sum = graph.node(math::add(), &[convolved, later]);
    let model = graph.finish(&[sum]);
    assert_equals_tract("a later input", &model, &[values(&SHAPE, 1), values(&SHAPE, 2)]);
}

/// Splits the channels in two, as a fallback operator with two float32 outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Halves;

impl Op for Halves {
    fn name(&self) -> StaticName {
        "Halves".into()
    }
    op_as_typed_op!();
}

impl EvalOp for Halves {
    op_out_of_plan!();
    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let half = inputs[0].shape()[3] / 2;
        let parts = [inputs[0].slice(3, 0, half)?, inputs[0].slice(3, half, 2 * half)?];
        Ok(parts.into_iter().map(Tensor::into_tvalue).collect())
    }
}

impl TypedOp for Halves {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut shape = inputs[0].shape.to_tvec();
        shape[3] = shape[3].clone() / 2;
        Ok(tvec!(f32::fact(&shape), f32::fact(&shape)))
    }
    as_op!();
}

#[test]
fn the_second_output_of_a_fallback_operator_is_not_added_before_it_is_computed() {
    let mut graph = Graph::new();
    let picture = graph.input(&[1, 6, 5, 8]);
    let first = graph.node(Slice::new(3, 0, 4), &[picture]);
    let convolved = convolve(&mut graph, first);
    let doubled = graph.node(math::square(), &[picture]);
    let halves = graph.wire(Halves, &[doubled]);
    let sum = graph.node(math::add(), &[convolved, halves[1]]);
    let model = graph.finish(&[sum, halves[0]]);
    assert_equals_tract("a second output", &model, &[values(&[1, 6, 5, 8], 1)]);
}

#[test]
fn the_last_phase_runs_again_with_another_input() {
    let mut graph = Graph::new();
    let picture = graph.input(&SHAPE);
    let convolved = convolve(&mut graph, picture);
    let seed = graph.input(&SHAPE);
    let product = graph.node(math::mul(), &[convolved, seed]);
    let square = graph.node(math::square(), &[product]);
    let model = graph.finish(&[square, convolved]);
    let [picture, first, second] = [1, 2, 3].map(|seed| values(&SHAPE, seed));
    let fresh = by_engine(&model, &[picture.clone(), second.clone()], Options::default());

    assert_eq!(run_again(&model, [&picture, &first, &second]), fresh);
}

/// The outputs after phase 0 with the first input, and phase 1 with the second and then the third.
fn run_again(model: &TypedModel, inputs: [&Tensor; 3]) -> Vec<ArrayD<f32>> {
    let mut cache = derm_engine::PackedWeightCache::default();
    let (weights, options) = (common::no_weights(), Options::default());
    let engine = derm_engine::Engine::compile(model, &weights, &[0, 1, 2, 3], options, &mut cache);
    let engine = engine.unwrap();
    let mut arena = engine.arena();
    for (phase, input) in [0, 1, 1].into_iter().zip(inputs) {
        let view = input.to_plain_array_view::<f32>().unwrap();
        engine
            .run(&mut arena, phase, |to| to.iter_mut().zip(view).for_each(|(to, x)| *to = *x))
            .unwrap();
    }
    (0..model.outputs.len()).map(|output| engine.output(&arena, output).to_owned()).collect()
}

#[test]
fn the_picture_outlives_the_last_phase_where_its_own_phase_has_no_steps() {
    let mut graph = Graph::new();
    let picture = graph.input(&SHAPE);
    // Declared before every node: all steps belong to its phase.
    let seed = graph.input(&SHAPE);
    let negated = graph.node(math::neg(), &[picture]);
    let product = graph.node(math::mul(), &[negated, seed]);
    let output = graph.node(math::square(), &[product]);
    let model = graph.finish(&[output]);
    let [pixels, first, second] = [1, 2, 3].map(|seed| values(&SHAPE, seed));
    let fresh = by_engine(&model, &[pixels.clone(), second.clone()], Options::default());
    let found = run_again(&model, [&pixels, &first, &second]);
    assert_eq!(found, fresh);
}

#[test]
fn an_engine_packs_its_own_weights() {
    let mut graph = Graph::new();
    let picture = graph.input(&SHAPE);
    let output = convolve(&mut graph, picture);
    let model = graph.finish(&[output]);
    let weights = common::no_weights();
    let mut cache = derm_engine::PackedWeightCache::default();
    let mut compile = |passes| {
        let options = Options { passes, ..Options::default() };
        derm_engine::Engine::compile(&model, &weights, &[0, 1, 2, 3], options, &mut cache).unwrap()
    };
    let (first, second) = (compile(Passes::default()), compile(Passes::NONE));
    assert!(first.weight_bytes() >= 16 * size_of::<f32>());
    assert_eq!(first.weight_bytes(), second.weight_bytes());
    // Constants of the graph have no name by which a second engine could know them.
    assert_eq!(second.packed_bytes(), second.weight_bytes());
}
