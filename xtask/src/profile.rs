//! `cargo xtask profile`: where one inference spends its time.

use anyhow::Context;
use derm_gradcam::{Explainer, Layer};
use derm_model::{Graph, Kernels, ModelSource, Plan, Settings, Workers};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Shows where one inference of a model spends its time
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder with model.onnx and model.toml, or an ONNX file beside its manifest
    #[arg(default_value = "models/derm-lite0")]
    model: PathBuf,
    /// Threads inside one inference
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// With the gradient of a class at the last feature map, or at the input
    #[arg(long)]
    gradient: Option<Gradient>,
    /// Inferences; the median is shown
    #[arg(long, default_value_t = 20)]
    runs: usize,
    /// How many steps to list
    #[arg(long, default_value_t = 15)]
    top: usize,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Gradient {
    Layer,
    Input,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let settings = Settings { workers: Workers::new(arguments.threads), ..Settings::default() };
    let start = Instant::now();
    let graph = Graph::load(&ModelSource::at(&arguments.model))?;
    let parsed = start.elapsed();
    let mut kernels = Kernels::default();
    let explainer;
    let own;
    let plan = match arguments.gradient {
        None => {
            own = Plan::new(&graph, &settings, &mut kernels)?;
            &own
        }
        Some(gradient) => {
            let layer = match gradient {
                Gradient::Layer => Layer::Last,
                Gradient::Input => Layer::Input,
            };
            explainer = Explainer::new(graph, &layer, &settings, &mut kernels)?;
            explainer.plan()
        }
    };
    let loaded = start.elapsed();
    let mut totals = Vec::new();
    let mut by_step: BTreeMap<(usize, String), Vec<Duration>> = BTreeMap::new();
    plan.profile()?;
    for _ in 0..arguments.runs.max(1) {
        let steps = plan.profile()?;
        totals.push(steps.iter().map(|(_, time)| *time).sum());
        for (number, (name, time)) in steps.into_iter().enumerate() {
            by_step.entry((number, name)).or_default().push(time);
        }
    }
    let total = median(totals).context("no runs")?;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("graph {:.1} ms, weights packed {:.1} ms", ms(parsed), ms(loaded - parsed));
    println!(
        "one inference {:.3} ms; weights {:.2} MiB, arena {:.2} MiB",
        ms(total),
        plan.weight_bytes() as f64 / derm::memory::MIB,
        plan.arena_bytes() as f64 / derm::memory::MIB
    );
    let mut steps: Vec<_> =
        by_step.into_iter().filter_map(|(key, times)| Some((key, median(times)?))).collect();
    steps.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    for ((number, name), time) in steps.into_iter().take(arguments.top) {
        let share = time.as_secs_f64() / total.as_secs_f64() * 100.0;
        println!("{:9.3} ms {share:5.1} %  {number:4}  {name}", ms(time));
    }
    Ok(())
}

pub(crate) fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort();
    times.get(times.len() / 2).copied()
}
