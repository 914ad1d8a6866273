//! `derm profile`: time of one inference by step.

use crate::model::ModelOption;
use anyhow::Context;
use derm_gradcam::{Explainer, Layer};
use derm_kernels::{register_flops, register_int8_operations};
use derm_model::{EngineOptions, Graph, Isa, PackedWeightCache, Plan, StepTime, ThreadPool};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Profile one inference by step, with the speed of its arithmetic as a share of the core's peak
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The model: a folder with model.onnx and model.toml, or an ONNX file beside its manifest [default: the bundled model]
    model: Option<PathBuf>,
    /// Threads inside one inference
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Include the gradient of a class at the last feature map, or at the input
    #[arg(long)]
    gradient: Option<Gradient>,
    /// Number of inferences; the median is shown
    #[arg(long, default_value_t = 20)]
    runs: usize,
    /// Number of kinds and steps to list
    #[arg(long, default_value_t = 15)]
    top: usize,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Gradient {
    Layer,
    Input,
}

/// Runs the command.
///
/// # Errors
/// The model cannot be loaded or run.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let options =
        EngineOptions { threads: ThreadPool::new(arguments.threads), ..EngineOptions::default() };
    let start = Instant::now();
    let graph = Graph::load(&ModelOption { path: arguments.model.clone() }.source())?;
    let parsed = start.elapsed();
    let mut cache = PackedWeightCache::default();
    let explainer;
    let own;
    let plan = match arguments.gradient {
        None => {
            own = Plan::new(&graph, &options, &mut cache)?;
            &own
        }
        Some(gradient) => {
            let layer = match gradient {
                Gradient::Layer => Layer::Last,
                Gradient::Input => Layer::Input,
            };
            explainer = Explainer::new(graph, &layer, &options, &mut cache)?;
            explainer.plan()
        }
    };
    let loaded = start.elapsed();
    plan.profile()?;
    let mut totals = Vec::new();
    let mut steps: Vec<Vec<StepTime>> = Vec::new();
    for _ in 0..arguments.runs.max(1) {
        let run = plan.profile()?;
        totals.push(run.iter().map(|step| step.time).sum());
        steps.resize_with(run.len(), Vec::new);
        run.into_iter().zip(&mut steps).for_each(|(step, all)| all.push(step));
    }
    let total = median(totals).context("no runs")?;
    let [float, int8] = [peak(register_flops), peak(register_int8_operations)]
        .map(|of_core| of_core * arguments.threads.max(1) as f64);
    writeln!(
        io::stdout(),
        "graph {:.1} ms, weights packed {:.1} ms",
        ms(parsed),
        ms(loaded - parsed)
    )?;
    writeln!(
        io::stdout(),
        "one inference {:.3} ms; weights {:.2} MiB, arena {:.2} MiB; \
         peak {float:.0} GOP/s of floats, {int8:.0} of 8-bit integers",
        ms(total),
        plan.weight_bytes() as f64 / derm::memory::MIB,
        plan.arena_bytes() as f64 / derm::memory::MIB,
    )?;
    let mut steps: Vec<StepTime> = steps
        .into_iter()
        .filter_map(|all| {
            let time = median(all.iter().map(|step| step.time).collect())?;
            Some(StepTime { time, ..all.into_iter().next()? })
        })
        .collect();
    let row = |step: &StepTime, what: &str| {
        let share = step.time.as_secs_f64() / total.as_secs_f64() * 100.0;
        let speed = step.operations as f64 / 1e9 / step.time.as_secs_f64();
        let of_peak = speed / if step.is_int8 { int8 } else { float } * 100.0;
        writeln!(
            io::stdout(),
            "{:8.3} {share:5.1} {speed:8.1} {of_peak:5.0}  {what}",
            ms(step.time)
        )
    };
    writeln!(io::stdout(), "\n      ms     %    GOP/s  of peak, %; by kind")?;
    for step in of_kinds(&steps).iter().take(arguments.top) {
        row(step, kind(step))?;
    }
    writeln!(io::stdout(), "\nby step")?;
    steps.sort_by_key(|step| Reverse(step.time));
    for step in steps.iter().take(arguments.top) {
        row(step, &format!("{}: {}", step.kind, step.name))?;
    }
    Ok(())
}

/// The sum of the steps of each kind, the longest first.
fn of_kinds(steps: &[StepTime]) -> Vec<StepTime> {
    let mut kinds: BTreeMap<&str, StepTime> = BTreeMap::new();
    for step in steps {
        match kinds.entry(kind(step)) {
            Entry::Vacant(entry) => {
                entry.insert(step.clone());
            }
            Entry::Occupied(mut entry) => {
                let sum = entry.get_mut();
                sum.time += step.time;
                sum.operations += step.operations;
            }
        }
    }
    let mut kinds: Vec<StepTime> = kinds.into_values().collect();
    kinds.sort_by_key(|step| Reverse(step.time));
    kinds
}

/// The kind of a step, without its position.
fn kind(step: &StepTime) -> &str {
    if step.kind.contains(", ") {
        return "convolutions, a few rows at a time";
    }
    step.kind.split(" at ").next().unwrap_or_default()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Peak throughput of a core on registers, GOP/s, by this kernel: the best of several short runs.
fn peak(kernel: impl Fn(Isa, usize) -> usize) -> f64 {
    let run = |_| {
        let start = Instant::now();
        let operations = kernel(Isa::best(), 200_000);
        operations as f64 / 1e9 / start.elapsed().as_secs_f64()
    };
    (0..30).map(run).fold(0.0, f64::max)
}

/// The middle one of several times; `None` of none.
pub fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort();
    times.get(times.len() / 2).copied()
}
