//! `cargo xtask engine`: derm as a process of `cargo xtask compare`, with the protocol of
//! `xtask/peers/engine.py`.

use derm_model::{
    EngineOptions, Graph, ModelSource, PackedWeightCache, Plan, ThreadPool, channels_last,
};
use std::io::{Write, stdin, stdout};
use std::path::PathBuf;
use std::time::Instant;

/// Run inferences on request from stdin, for compare
#[derive(clap::Args)]
#[command(hide = true)]
pub(crate) struct Arguments {
    model: PathBuf,
    /// Float32 values of the input, as the manifest lays it out
    picture: PathBuf,
    threads: usize,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let settings =
        EngineOptions { threads: ThreadPool::new(arguments.threads), ..EngineOptions::default() };
    let graph = Graph::load(&ModelSource::at(&arguments.model))?;
    let plan = Plan::new(&graph, &settings, &mut PackedWeightCache::default())?;
    let bytes = std::fs::read(&arguments.picture)?;
    let (values, _) = bytes.as_chunks::<4>();
    let values: Vec<f32> = values.iter().copied().map(f32::from_le_bytes).collect();
    let input = ndarray::Array4::from_shape_vec(graph.manifest().input.shape(), values)?;
    // Rows, columns, channels: what preprocessing writes.
    let mut picture = vec![0.0; input.len()];
    channels_last(graph.manifest().input.layout, &input, &mut picture);
    drop(graph);
    derm::memory::release_freed();
    let scores = || anyhow::Ok(plan.run(|to| to.copy_from_slice(&picture))?.output(0).to_owned());
    let mut out = stdout();
    write!(out, "ready")?;
    scores()?.iter().try_for_each(|score| write!(out, " {score}"))?;
    writeln!(out)?;
    for line in stdin().lines() {
        for _ in 0..line?.trim().parse::<usize>()? {
            let start = Instant::now();
            scores()?;
            write!(out, "{} ", start.elapsed().as_secs_f64() * 1e3)?;
        }
        writeln!(out)?;
        out.flush()?;
    }
    Ok(())
}
