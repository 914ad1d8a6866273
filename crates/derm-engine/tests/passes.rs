//! The networks of the zoo give the same numbers with and without each pass.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::no_weights;
use derm_engine::{Engine, Options, PackedWeightCache, Passes};
use derm_zoo::Entry;
use tract_onnx::prelude::*;

fn typed(entry: Entry) -> TypedModel {
    let mut graph = derm_onnx::read(&entry.graph()).unwrap();
    derm_onnx::fill(&mut graph, derm_zoo::SEED).unwrap();
    let bytes = derm_onnx::to_bytes(&graph).unwrap();
    let onnx = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    let model = onnx.model_for_read(&mut &bytes[..]).unwrap();
    let side = entry.side as usize;
    let fact = f32::fact([1, 3, side, side]);
    model.with_input_fact(0, fact.into()).unwrap().into_optimized_typed()
}
