//! ONNX files: the skeleton without weights, simplification, the plan, one run.

#![no_main]

use derm_engine::Options;
use derm_fuzz::{metered, watch_panics};
use derm_model::{Graph, ModelSource, PackedWeightCache, Plan};
use libfuzzer_sys::fuzz_target;

/// That of the seeds: one picture of three channels, 6x6 pixels; two classes.
const MANIFEST: &str = include_str!("../seeds/onnx.toml");
/// Bytes that a file of these sizes may take while it is read, the longest that is tried included.
const MEMORY: u64 = 64 << 20;
/// Bytes that a run may take.
const RUN: usize = 16 << 20;

fuzz_target!(|bytes: &[u8]| {
    watch_panics();
    let leaked: &'static [u8] = Box::leak(bytes.into());
    let ((), used) = metered(|| try_model(leaked));
    assert!(used.memory <= MEMORY + RUN as u64, "{} bytes", used.memory);
    // SAFETY: it came from a box, and all that borrowed it is dropped.
    drop(unsafe { Box::from_raw(std::ptr::from_ref(leaked).cast_mut()) });
});

fn try_model(model: &'static [u8]) {
    let source = ModelSource::Embedded { model, manifest: MANIFEST };
    let Ok(graph) = Graph::load(&source) else { return };
    let mut cache = PackedWeightCache::default();
    let options = Options { max_run_bytes: RUN, ..Options::default() };
    let Ok(plan) = Plan::new(&graph, &options, &mut cache) else { return };
    let Ok(run) = plan.run(|input| input.fill(0.5)) else { return };
    assert_eq!(run.output(0).len(), 2);
}
