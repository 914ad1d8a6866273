//! Memory of the real server, state by state, beside the original application's.

mod report;
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
    /// `bundled`, or a graph of the zoo, filled, with float16 weights.
    source: String,
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
            return Ok(Some(entry.make_f16(&derm_zoo::folder())?.canonicalize()?));
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
            vec![Model { name, source, limits: BTreeMap::new() }]
        }
        None => config.models,
    };
    let binary = server::build()?;
    let mut measured = Vec::new();
    let mut passed = true;
    for model in &models {
        println!("== {} ({})", model.name, model.source);
        let path = model.path()?;
        passed &= tests::run(&binary, path.as_deref())?;
        let states = states::measure(&binary, path.as_deref())?;
        passed &= report::within_limits(&states, &model.limits);
        measured.push((model.name.clone(), states));
    }
    report::print(&measured);
    if let Some(path) = &arguments.json {
        report::write_json(&measured, path)?;
    }
    if !passed {
        bail!("a test failed or a limit was passed");
    }
    Ok(())
}

/// The environment that names the model.
fn environment(model: Option<&Path>) -> Vec<(&'static str, String)> {
    let path = model.map(|path| ("MODEL_PATH", path.display().to_string()));
    path.into_iter().chain([("MAX_REQUESTS", "0".to_owned())]).collect()
}

/// An 800x600 JPEG, drawn.
const PICTURE: &[u8] = include_bytes!("../../bins/derm-server/src/page/example.jpg");
