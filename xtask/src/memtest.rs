//! Memory of the real server, state by state, beside the original application's.

mod crowd;
mod map;
mod peers;
pub(crate) mod pictures;
mod plot;
mod report;
mod soak;
mod states;
mod tests;

use crate::server;
use anyhow::{Context, bail};
use derm::ModelSource;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Start the server as a process of its own and measure its resident memory, state by state
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only this model (a folder or an ONNX file) instead of those of the configuration
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// Also write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Run the server in a control group with so much memory and let --clients ask
    #[arg(long, value_name = "MIB", num_args = 0..=1)]
    limit_mb: Option<Option<u64>>,
    /// The same with so much of a core, as small instances have
    #[arg(long, value_name = "SHARE")]
    cpu: Option<f64>,
    /// Clients at once, for --limit-mb and --cpu
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Requests in all, for --limit-mb and --cpu
    #[arg(long, default_value_t = 2000)]
    requests: usize,
    /// Send so many requests and see whether memory grows
    #[arg(long, value_name = "REQUESTS")]
    soak: Option<usize>,
    /// Load the model afresh so many times and see whether memory grows
    #[arg(long, value_name = "LOADS")]
    rounds: Option<usize>,
    /// Run the server on another allocator: a library that replaces malloc
    #[arg(long, value_name = "LIBRARY")]
    preload: Option<PathBuf>,
    /// Also measure what others would run, on the same model (needs Python; installs packages)
    #[arg(long)]
    peers: bool,
    /// List what the resident memory consists of
    #[arg(long)]
    map: bool,
    /// Also draw memory over time, one SVG for each model, into this folder
    #[arg(long, value_name = "FOLDER")]
    svg: Option<PathBuf>,
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

/// A model to measure, and what it may need.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    name: String,
    /// `bundled`, or a graph of the zoo, filled.
    source: String,
    /// Whether a graph of the zoo is filled with float32 weights, not float16.
    #[serde(default)]
    float32: bool,
    /// MiB under which `--limit-mb` without a number runs it.
    limit_mb: Option<u64>,
    /// Largest resident memory by state, MiB. States without one are only reported.
    #[serde(default)]
    limits: BTreeMap<String, f64>,
}

impl Model {
    /// What MODEL_PATH must be; `None` for the model inside the binary.
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
    let binary = server::build()?;
    server::preload(arguments.preload.clone());
    let mut measured = Vec::new();
    let mut passed = true;
    for model in &models {
        println!("== {} ({})", model.name, model.source);
        let path = model.path()?;
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

impl Arguments {
    /// Whether something else than the table is asked for.
    fn is_special(&self) -> bool {
        let crowd = self.limit_mb.is_some() || self.cpu.is_some();
        crowd || self.soak.is_some() || self.rounds.is_some() || self.map
    }

    fn special(&self, binary: &Path, model: &Model, path: Option<&Path>) -> anyhow::Result<bool> {
        let mut passed = true;
        if self.limit_mb.is_some() || self.cpu.is_some() {
            let limit_mb = self.limit_mb.and_then(|given| given.or(model.limit_mb));
            if self.limit_mb.is_some() && limit_mb.is_none() {
                println!("no limit is set for this model");
                return Ok(true);
            }
            let (clients, requests) = (self.clients, self.requests);
            let crowd = crowd::Crowd { limit_mb, cpu: self.cpu, clients, requests };
            passed &= crowd::run(binary, path, crowd)?;
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

/// The environment that names the model.
fn environment(model: Option<&Path>) -> Vec<(&'static str, String)> {
    let path = model.map(|path| ("MODEL_PATH", path.display().to_string()));
    path.into_iter().chain([("MAX_REQUESTS", "0".to_owned())]).collect()
}
