//! `cargo xtask sizing`: what one process answers and takes, for docs/scaling.md.
//!
//! Requests a second and core are requests divided by the CPU time that the server used for them, so that
//! other programs on the machine change them little.

use crate::memtest::pictures::EXAMPLE;
use crate::server::{Server, build};
use crate::statistics::quantile;
use anyhow::{Context, ensure};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Starts of the server whose median is the cold start.
const STARTS: usize = 9;

/// Print a sizing table: requests a second and core, latency and memory of one process, and its cold start
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Measure this model (a folder or an ONNX file) instead of the one in the binary; may be repeated
    #[arg(long, value_name = "PATH")]
    model: Vec<PathBuf>,
    /// Measure this binary instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Concurrent inferences to measure (THREADS): 1 and the number of cores if not given
    #[arg(long, value_delimiter = ',')]
    threads: Vec<NonZeroUsize>,
    /// Duration of each load, seconds
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let binary = arguments.binary.clone().map_or_else(build, Ok)?;
    let models: Vec<Option<&Path>> = match arguments.model.as_slice() {
        [] => vec![None],
        named => named.iter().map(|path| Some(path.as_path())).collect(),
    };
    println!(
        "An 800x600 JPEG, sent by two clients for each inference that may run, {} s a row. Requests a second and core: \
         requests divided by the server's CPU time.\n",
        arguments.seconds
    );
    println!(
        "| model | heatmap | THREADS | requests/s | requests/s and core | p50, ms | p99, ms | memory at most, MiB |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|");
    let duration = Duration::from_secs(arguments.seconds);
    for &model in &models {
        for threads in threads(arguments)? {
            for heatmap in [false, true] {
                load(&binary, model, threads, heatmap, duration)?.print();
            }
        }
    }
    println!(
        "\nCold start, median of {STARTS}: from starting the process, files in the page cache.\n"
    );
    println!("| model | until it listens, ms | until the first answer, ms | with `PRELOAD`, ms |");
    println!("|---|---:|---:|---:|");
    for model in models {
        cold_start(&binary, model)?;
    }
    Ok(())
}

fn threads(arguments: &Arguments) -> anyhow::Result<Vec<usize>> {
    if !arguments.threads.is_empty() {
        return Ok(arguments.threads.iter().map(|threads| threads.get()).collect());
    }
    let cores = std::thread::available_parallelism()?.get();
    Ok(if cores == 1 { vec![1] } else { vec![1, cores] })
}

fn environment(model: Option<&Path>) -> Vec<(&'static str, String)> {
    // No load within the measurement.
    let mut environment = vec![("MAX_REQUESTS", "0".to_owned())];
    environment.extend(model.map(|path| ("MODEL_PATH", path.display().to_string())));
    environment
}

fn name(model: Option<&Path>) -> String {
    model.map_or_else(|| "bundled".to_owned(), |path| format!("`{}`", path.display()))
}

/// What a load measured.
struct Row {
    model: String,
    heatmap: bool,
    threads: usize,
    seconds: f64,
    cpu_seconds: f64,
    /// Milliseconds.
    times: Vec<f64>,
    peak: f64,
}

impl Row {
    fn print(mut self) {
        let count = self.times.len() as f64;
        let mut at = |share| quantile(&mut self.times, share);
        let (p50, p99) = (at(0.5), at(0.99));
        println!(
            "| {} | {} | {} | {:.1} | {:.1} | {:.0} | {:.0} | {:.1} |",
            self.model,
            if self.heatmap { "yes" } else { "no" },
            self.threads,
            count / self.seconds,
            count / self.cpu_seconds,
            p50,
            p99,
            self.peak
        );
    }
}

fn load(
    binary: &Path,
    model: Option<&Path>,
    threads: usize,
    heatmap: bool,
    duration: Duration,
) -> anyhow::Result<Row> {
    let mut environment = environment(model);
    environment.push(("THREADS", threads.to_string()));
    let server = Server::start(binary, &environment)?;
    let query = format!("gradcam={heatmap}");
    let send = || server.predict(&query, "image/jpeg", EXAMPLE);
    send()?;
    let (start, before) = (Instant::now(), cpu_seconds(&server)?);
    let over = AtomicBool::new(false);
    let client = || -> anyhow::Result<Vec<f64>> {
        let mut times = Vec::new();
        while !over.load(Relaxed) {
            let begun = Instant::now();
            send()?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        Ok(times)
    };
    let times = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..2 * threads).map(|_| scope.spawn(client)).collect();
        std::thread::sleep(duration);
        over.store(true, Relaxed);
        let joined = clients.into_iter().map(|client| client.join());
        joined
            .map(|times| times.ok().context("a client panicked")?)
            .collect::<anyhow::Result<Vec<_>>>()
    })?;
    let (seconds, after) = (start.elapsed().as_secs_f64(), cpu_seconds(&server)?);
    let times = times.concat();
    ensure!(!times.is_empty(), "no request was answered");
    let (model, peak) = (name(model), server.peak()?);
    Ok(Row { model, heatmap, threads, seconds, cpu_seconds: after - before, times, peak })
}

/// CPU time of the server so far, as its metrics say.
fn cpu_seconds(server: &Server) -> anyhow::Result<f64> {
    let answer = server.get("/metrics")?;
    let text = String::from_utf8_lossy(&answer.body);
    let value = text.lines().find_map(|line| line.strip_prefix("process_cpu_seconds_total "));
    value.context("the server's metrics lack its CPU time")?.parse().context("its CPU time")
}

fn cold_start(binary: &Path, model: Option<&Path>) -> anyhow::Result<()> {
    let (mut listening, mut answered, mut preloaded) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let start = Instant::now();
        let server = Server::start(binary, &environment(model))?;
        listening.push(server.start.as_secs_f64() * 1e3);
        server.predict("gradcam=false", "image/jpeg", EXAMPLE)?;
        answered.push(start.elapsed().as_secs_f64() * 1e3);
        let mut environment = environment(model);
        environment.push(("PRELOAD", "true".to_owned()));
        let server = Server::start(binary, &environment)?;
        preloaded.push(server.start.as_secs_f64() * 1e3);
    }
    let [listening, answered, preloaded] =
        [listening, answered, preloaded].map(|mut times: Vec<f64>| quantile(&mut times, 0.5));
    println!("| {} | {listening:.0} | {answered:.0} | {preloaded:.0} |", name(model));
    Ok(())
}
