//! The networks of the zoo give the same numbers with and without each pass.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::no_weights;
use derm_engine::{Engine, Options, PackedWeightCache, Passes, ThreadPool};
use derm_zoo::{ENTRIES, Entry};
use tract_onnx::prelude::*;

/// The graph with its weights in it, simplified by tract.
fn typed(entry: Entry) -> TypedModel {
    let path = entry.make(&derm_zoo::folder()).unwrap().join("model.onnx");
    let onnx = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    let fact = f32::fact([1, 3, entry.side as usize, entry.side as usize]);
    let model = onnx.model_for_path(path).unwrap().with_input_fact(0, fact.into()).unwrap();
    model.into_typed().unwrap().into_decluttered().unwrap()
}

fn scores(model: &TypedModel, picture: &[f32], passes: Passes, threads: usize) -> Vec<f32> {
    let threads = ThreadPool::new(threads);
    let options = Options { passes, threads, ..Options::default() };
    let mut cache = PackedWeightCache::default();
    let weights = no_weights();
    let engine = Engine::compile(model, &weights, &[0, 2, 3, 1], options, &mut cache).unwrap();
    let mut arena = engine.arena();
    engine.run(&mut arena, 0, |input| input.copy_from_slice(picture)).unwrap();
    engine.output(&arena, 0).iter().copied().collect()
}

/// One network of each architecture of the zoo that takes a picture of 224 x 224.
#[test]
fn a_pass_changes_no_score() {
    let all = Passes::default();
    let variants = [
        ("no pass", Passes::NONE, 1),
        ("no epilogue fusion", Passes { epilogue: false, ..all }, 1),
        ("no convolution chaining", Passes { conv_chain: false, ..all }, 1),
        ("nothing in place", Passes { in_place: false, ..all }, 1),
        ("two threads", all, 2),
    ];
    for name in [
        "efficientnet-lite0",
        "efficientnet-b0",
        "mobilenetv2",
        "mobilenetv3-l",
        "resnet18",
        "densenet121",
        "deit-ti",
    ] {
        let name = format!("{name}.opset13");
        let entry = ENTRIES.into_iter().find(|entry| entry.name == name).unwrap();
        let model = typed(entry);
        let side = entry.side as usize;
        // As the engine is told to have it: rows, columns, channels.
        let picture = derm_zoo::picture([1, 3, side, side]).permuted_axes([0, 2, 3, 1]);
        let picture: Vec<f32> = picture.iter().copied().collect();
        let expected = scores(&model, &picture, all, 1);
        for (with, passes, threads) in variants {
            let found = scores(&model, &picture, passes, threads);
            for (found, expected) in found.iter().zip(&expected) {
                let error = (found - expected).abs();
                assert!(
                    error <= 1e-4 * (1.0 + expected.abs()),
                    "{name}, {with}: a score of {found}, not {expected}"
                );
            }
        }
    }
}
