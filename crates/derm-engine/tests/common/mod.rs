//! What the tests of the engine share: graphs of a few operators, and tract's own evaluation of them.

#![allow(dead_code, reason = "each test file uses a part of it")]

use derm_engine::{Bytes, Engine, Options, PackedWeightCache, Passes, StoredWeights};
use std::collections::HashMap;
use std::sync::Arc;
use tract_onnx::prelude::tract_ndarray::ArrayD;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;

struct NoFile;

impl Bytes for NoFile {
    fn bytes(&self) -> &[u8] {
        &[]
    }

    fn release(&self, _: std::ops::Range<usize>) {}
}

/// No weights in a file: all constants are in the graph.
pub(crate) fn no_weights() -> StoredWeights {
    StoredWeights::new(Arc::new(NoFile), HashMap::new()).unwrap()
}

/// Irregular values in -1.5..1.5.
pub(crate) fn values(shape: &[usize], seed: u64) -> Tensor {
    let count = shape.iter().product();
    let mut random = fastrand::Rng::with_seed(seed);
    let flat = (0..count).map(|_| 3.0 * random.f32() - 1.5).collect();
    ArrayD::from_shape_vec(shape, flat).unwrap().into_tensor()
}

/// A graph that is being written, with one input for each phase.
pub(crate) struct Graph {
    pub(crate) model: TypedModel,
    names: usize,
}

impl Graph {
    pub(crate) fn new() -> Graph {
        Graph { model: TypedModel::default(), names: 0 }
    }

    fn name(&mut self, of: &str) -> String {
        self.names += 1;
        format!("{of}-{}", self.names)
    }

    pub(crate) fn input(&mut self, shape: &[usize]) -> OutletId {
        let name = self.name("input");
        self.model.add_source(name, f32::fact(shape)).unwrap()
    }

    pub(crate) fn constant(&mut self, tensor: Tensor) -> OutletId {
        let name = self.name("constant");
        self.model.add_const(name, tensor).unwrap()
    }

    pub(crate) fn wire(
        &mut self,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TVec<OutletId> {
        let op = op.into();
        let name = self.name(&op.name());
        self.model.wire_node(name, op, inputs).unwrap()
    }

    /// A node with one output.
    pub(crate) fn node(
        &mut self,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> OutletId {
        self.wire(op, inputs)[0]
    }

    pub(crate) fn finish(mut self, outputs: &[OutletId]) -> TypedModel {
        self.model.select_output_outlets(outputs).unwrap();
        self.model
    }
}

/// The graph's outputs as the engine computes them, phase by phase.
pub(crate) fn by_engine(
    model: &TypedModel,
    inputs: &[Tensor],
    options: Options,
) -> Vec<ArrayD<f32>> {
    let order: Vec<usize> = (0..inputs[0].rank()).collect();
    let mut cache = PackedWeightCache::default();
    let engine = Engine::compile(model, &no_weights(), &order, options, &mut cache).unwrap();
    assert_eq!(engine.phases(), inputs.len());
    let mut arena = engine.arena();
    for (phase, input) in inputs.iter().enumerate() {
        let values = input.to_plain_array_view::<f32>().unwrap();
        let fill = |to: &mut [f32]| {
            to.iter_mut().zip(values.iter()).for_each(|(to, value)| *to = *value);
        };
        engine.run(&mut arena, phase, fill).unwrap();
    }
    let outputs = 0..model.outputs.len();
    outputs.map(|output| engine.output(&arena, output).to_owned()).collect()
}

/// The graph's outputs as tract computes them.
pub(crate) fn by_tract(model: &TypedModel, inputs: &[Tensor]) -> Vec<ArrayD<f32>> {
    let plan = model.clone().into_runnable().unwrap();
    let inputs = inputs.iter().map(|input| input.clone().into_tvalue()).collect();
    let outputs = plan.run(inputs).unwrap();
    outputs.iter().map(|o| o.to_plain_array_view::<f32>().unwrap().to_owned()).collect()
}

/// Asserts that the engine computes what tract does, with all passes and with none. `what` names the
/// case in a failure.
pub(crate) fn assert_equals_tract(what: &str, model: &TypedModel, inputs: &[Tensor]) {
    let expected = by_tract(model, inputs);
    for (with, passes) in [("all passes", Passes::default()), ("no pass", Passes::NONE)] {
        let found = by_engine(model, inputs, Options { passes, ..Options::default() });
        for (output, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found.shape(), expected.shape(), "{what}, {with}, output {output}");
            for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
                let error = (found - expected).abs();
                assert!(
                    error <= 1e-4 * (1.0 + expected.abs()),
                    "{what}, {with}: output {output} has {found} at {index}, not {expected}"
                );
            }
        }
    }
}
