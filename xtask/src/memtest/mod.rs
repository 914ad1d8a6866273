//! `cargo xtask memtest`: resident memory of the real server in each state, compared with the original
//! application.

mod crowd;
mod map;
mod mixture;
mod peers;
pub(crate) mod pictures;
mod plot;
mod report;
mod several;
mod soak;
mod states;
mod tests;

use crate::server;
use anyhow::{Context, bail};
use derm::ModelSource;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Start the server as a separate process and measure its resident memory in each state
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Measure this model (a folder or an ONNX file) instead of the configured ones
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// Also write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Run the server in a cgroup with this memory limit, under load from --clients
    #[arg(long, value_name = "MIB", num_args = 0..=1)]
    limit_mb: Option<Option<u64>>,
    /// Run the server in a cgroup with this share of a core, under load from --clients
    #[arg(long, value_name = "SHARE")]
    cpu: Option<f64>,
    /// Concurrent clients, for --limit-mb and --cpu
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Total requests, for --limit-mb and --cpu
    #[arg(long, default_value_t = 2000)]
    requests: usize,
    /// Send this many mixed requests and fail if memory grows, or descriptors, sockets or threads
    #[arg(long, value_name = "REQUESTS")]
    soak: Option<usize>,
    /// Reload the model this many times and fail if memory grows
    #[arg(long, value_name = "LOADS")]
    rounds: Option<usize>,
    /// Serve the model three times, in a cgroup with the limit of --limit-mb, and send so many requests to the three in turn
    #[arg(long, value_name = "REQUESTS")]
    rotate: Option<usize>,
    /// Send this many pictures in one request, and fail if memory is not that of one and their bytes
    #[arg(long, value_name = "PICTURES")]
    together: Option<usize>,
    /// Run the server with this library preloaded, such as another allocator
    #[arg(long, value_name = "LIBRARY")]
    preload: Option<PathBuf>,
    /// Also measure other servers on the same model (needs Python; installs packages)
    #[arg(long)]
    peers: bool,
    /// List the resident memory by mapping
    #[arg(long)]
    map: bool,
    /// Also plot memory over time, one SVG per model, into this folder
    #[arg(long, value_name = "FOLDER")]
    svg: Option<PathBuf>,
    /// This server instead of one that is built in release mode
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Models and limits
    #[arg(long, value_name = "FILE", default_value = "xtask/memtest.toml")]
    config: PathBuf,
}

/// `xtask/memtest.toml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    models: Vec<Model>,
}

/// A model to measure, and its memory limits.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    name: String,
    /// `bundled`, or a graph of the zoo, filled.
    source: String,
    /// Whether a graph of the zoo is filled with float32 weights, not float16.
    #[serde(default)]
    float32: bool,
    /// Memory limit of `--limit-mb` without a number, MiB.
    limit_mb: Option<u64>,
    /// Largest resident memory by state, MiB. States without one are only reported.
    #[serde(default)]
    limits: BTreeMap<String, f64>,
}

impl Model {
    /// The value of MODEL_PATH; `None` for the bundled model.
    fn path(&self) -> anyhow::Result<Option<PathBuf>> {
        if self.source == "bundled" {
            return Ok(None);
        }
        if let Some(entry) = derm_zoo::entry(&self.source) {
            let folder = derm_zoo::folder();
            let made = if self.float32 { entry.make(&folder) } else { entry.make_f16(&folder) };
            return Ok(Some(made?.canonicalize()?));
        }
        let path = Path::new(&self.source);
        if !path.exists() {
            bail!("{:?} is neither `bundled`, nor of the zoo, nor a file", self.source);
        }
        Ok(Some(path.canonicalize()?))
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&arguments.config)
        .with_context(|| arguments.config.display().to_string())?;
    let config: Config = toml::from_str(&text)?;
    let models = match &arguments.model {
        Some(path) => {
            let name = ModelSource::at(path).manifest()?.name;
            let source = path.display().to_string();
            vec![Model { name, source, float32: false, limit_mb: None, limits: BTreeMap::new() }]
        }
        None => config.models,
    };
    let binary = arguments.binary.clone().map_or_else(server::build, Ok)?;
    server::preload(arguments.preload.clone());
    let mut measured = Vec::new();
    let mut passed = true;
    for model in &models {
        println!("== {} ({})", model.name, model.source);
        let path = model.path()?;
        let_go_of_pages(&binary)?;
        if arguments.is_special() {
            passed &= arguments.special(&binary, model, path.as_deref())?;
            continue;
        }
        passed &= tests::run(&binary, path.as_deref())?;
        let (states, samples) = states::measure(&binary, path.as_deref())?;
        if let Some(folder) = &arguments.svg {
            plot::write(folder, &model.name, &samples)?;
        }
        if arguments.peers {
            let bundled = Path::new("models/derm-lite0");
            peers::run(path.as_deref().unwrap_or(bundled), &states)?;
        }
        passed &= report::within_limits(&states, &model.limits);
        measured.push((model.name.clone(), states));
    }
    if !measured.is_empty() {
        report::print(&measured);
    }
    if let Some(path) = &arguments.json {
        report::write_json(&measured, path)?;
    }
    if !passed {
        bail!("a test failed or a limit was passed");
    }
    Ok(())
}

/// Lets the kernel's page cache drop the file, so that only the pages that a process touches are read again: of one that
/// was just written all are there, in pieces of up to 2 MiB, which count as resident as soon as one byte is touched.
fn let_go_of_pages(file: &Path) -> anyhow::Result<()> {
    let file = std::fs::File::open(file).with_context(|| file.display().to_string())?;
    // Pages that are not on the disk yet stay.
    file.sync_all()?;
    Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
}

impl Arguments {
    /// Whether something other than the table is requested.
    fn is_special(&self) -> bool {
        let crowd = self.limit_mb.is_some() || self.cpu.is_some();
        let several = self.rotate.is_some() || self.together.is_some();
        crowd || several || self.soak.is_some() || self.rounds.is_some() || self.map
    }

    fn special(&self, binary: &Path, model: &Model, path: Option<&Path>) -> anyhow::Result<bool> {
        let mut passed = true;
        let limit_mb = self.limit_mb.flatten().or(model.limit_mb);
        if let Some(requests) = self.rotate {
            match limit_mb {
                Some(limit_mb) => passed &= several::rotation(binary, path, requests, limit_mb)?,
                None => println!("no limit is set for this model"),
            }
        } else if self.limit_mb.is_some() || self.cpu.is_some() {
            let limit_mb = self.limit_mb.and(limit_mb);
            if self.limit_mb.is_some() && limit_mb.is_none() {
                println!("no limit is set for this model");
                return Ok(true);
            }
            let (clients, requests) = (self.clients, self.requests);
            let crowd = crowd::Crowd { limit_mb, cpu: self.cpu, clients, requests };
            passed &= crowd::run(binary, path, crowd)?;
        }
        if let Some(count) = self.together {
            passed &= several::pictures(binary, path, count)?;
        }
        if let Some(requests) = self.soak {
            passed &= soak::run(binary, path, requests)?;
        }
        if let Some(rounds) = self.rounds {
            passed &= soak::rounds(binary, path, rounds)?;
        }
        if self.map {
            map::run(binary, path)?;
        }
        Ok(passed)
    }
}

/// The environment variables that select the model.
fn environment(model: Option<&Path>) -> Vec<(&'static str, String)> {
    let path = model.map(|path| ("MODEL_PATH", path.display().to_string()));
    path.into_iter().chain([("MAX_REQUESTS", "0".to_owned())]).collect()
}
