//! Constants: what is one, and what it is, on graphs made to be expensive.

#![allow(clippy::unwrap_used, missing_docs)]

use derm_engine::{Bytes, Constants, Engine, Options, PackedWeightCache, Stored, StoredWeights};
use std::collections::HashMap;
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::math;

struct File(Vec<u8>);

impl Bytes for File {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn release(&self, _: std::ops::Range<usize>) {}
}

/// `weight` of three numbers, stored as float32.
fn weights() -> StoredWeights {
    let file = File([1f32, -2.0, 3.0].iter().flat_map(|value| value.to_le_bytes()).collect());
    let stored = Stored { datum_type: DatumType::F32, shape: vec![3], start: 0 };
    StoredWeights::new(Arc::new(file), HashMap::from([("weight".to_owned(), stored)])).unwrap()
}

/// `input + f(f(... f(weight)))`, where each of the `depth` functions reads its operand twice: a walk
/// that visits an operand as often as it is read would take 2^depth steps.
fn doubled(depth: usize) -> (TypedModel, OutletId) {
    let mut model = TypedModel::default();
    let input = model.add_source("input", f32::fact([3])).unwrap();
    let mut value = model.add_source("weight", f32::fact([3])).unwrap();
    for index in 0..depth {
        value = model.wire_node(format!("max-{index}"), math::max(), &[value, value]).unwrap()[0];
    }
    let sum = model.wire_node("sum", math::add(), &[input, value]).unwrap()[0];
    model.select_output_outlets(&[sum]).unwrap();
    (model, value)
}

#[test]
fn constants_that_read_each_other_twice_are_found_and_computed_once() {
    let (model, deep) = doubled(200);
    let weights = weights();
    let constants = Constants::of(&model, &weights).unwrap();
    assert!(constants.contains(deep));
    assert!(!constants.contains(model.outputs[0]));
    let tensor = constants.tensor(deep).unwrap();
    assert_eq!(tensor.to_plain_array_view::<f32>().unwrap().as_slice().unwrap(), [1.0, -2.0, 3.0]);
}

#[test]
fn an_engine_is_compiled_of_them() {
    let (model, _) = doubled(200);
    let mut cache = PackedWeightCache::default();
    let engine = Engine::compile(&model, &weights(), &[0], Options::default(), &mut cache).unwrap();
    let mut arena = engine.arena();
    engine.run(&mut arena, 0, |input| input.fill(0.5)).unwrap();
    assert_eq!(engine.output(&arena, 0).as_slice().unwrap(), [1.5, -1.5, 3.5]);
}

#[test]
fn what_is_not_constant_has_no_value() {
    let (model, _) = doubled(1);
    let weights = weights();
    let constants = Constants::of(&model, &weights).unwrap();
    assert!(constants.tensor(model.outputs[0]).is_err());
}

#[test]
fn a_stored_tensor_outside_the_file_is_refused() {
    for (shape, start) in [(vec![4], 0), (vec![3], 4), (vec![usize::MAX, 2], 0)] {
        let stored = Stored { datum_type: DatumType::F32, shape, start };
        let by_name = HashMap::from([("weight".to_owned(), stored)]);
        assert!(StoredWeights::new(Arc::new(File(vec![0; 12])), by_name).is_err());
    }
}
