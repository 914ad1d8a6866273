//! Compilation: from a graph to an engine.

use crate::engine::{Engine, Output};
use crate::lower::{Lowered, lower};
use crate::passes::{conv_chain, epilogue, hard_swish, in_place, int8, liveness};
use crate::program::{Layout, Program, Step};
use crate::{Options, PackedWeightCache, Passes, StoredWeights};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::ensure;

impl Engine {
    /// Compiles a decluttered graph.
    ///
    /// Its first input is the picture, with its axes in memory in the order `input_order`. Inputs
    /// that `weights` does not know begin further phases, with their axes in the graph's order, and
    /// nodes are run in the order of their numbers. Weights that are in `cache` are not packed again;
    /// the others are put there.
    ///
    /// # Errors
    /// If a size is not fixed, an output is not float32, tract cannot compute a constant, or a run takes more than
    /// [`Options::max_run_bytes`].
    pub fn compile(
        model: &TypedModel,
        weights: &StoredWeights,
        input_order: &[usize],
        options: Options,
        cache: &mut PackedWeightCache,
    ) -> TractResult<Engine> {
        let lowered = lower(model, weights, input_order, &options, cache)?;
        let Lowered { mut program, outputs, packed_bytes } = lowered;
        rewrite(&mut program, options.passes);
        let largest = largest(&program);
        let layout = plan_memory(&program, &options);
        let outputs = outputs.iter().map(|value| Output::new(value, &layout)).collect();
        let most = options.max_run_bytes;
        let engine = Engine::new(options, program, layout, outputs, packed_bytes);
        let bytes = engine.arena_bytes();
        ensure!(
            bytes <= most,
            "{largest}: with it, one run takes {} MiB, and at most {} are allowed",
            bytes >> 20,
            most >> 20
        );
        Ok(engine)
    }
}

/// The name of the step that writes most.
fn largest(program: &Program) -> String {
    let length = |step: &&Step| program.buffers()[step.output.index()].words();
    // The first of those that write as much.
    program.steps.iter().rev().max_by_key(length).map_or_else(String::new, |step| step.name.clone())
}

/// The passes that change the steps, in their order: chains are made of convolutions that have their
/// epilogues.
fn rewrite(program: &mut Program, passes: Passes) {
    if passes.epilogue {
        hard_swish::recognise(program);
        epilogue::fold(program);
        int8::fold(program);
    }
    if passes.conv_chain {
        conv_chain::chain(program);
    }
}

/// Decides where each buffer and each step's scratch lies.
fn plan_memory(program: &Program, options: &Options) -> Layout {
    let mut lives = liveness::lives(program);
    let owners = if options.passes.in_place {
        in_place::share(program, &mut lives)
    } else {
        in_place::separate(program)
    };
    let scratch = liveness::scratch(program, options.threads.count());
    Layout::plan(&lives, &owners, &scratch)
}
