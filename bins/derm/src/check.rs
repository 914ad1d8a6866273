//! `derm check`: loads a model, runs it once, and prints what was found.

use crate::model::ModelOption;
use derm::{Classifier, Comparison, Operators, Options, Reference, Verdict};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Check a model: load it, run it once, and say what it is, what it takes and whether it can be explained
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The model: a folder with model.onnx and model.toml, or an ONNX file beside its manifest [default: the bundled model]
    model: Option<PathBuf>,
    /// Compare with the probabilities in this CSV file (a picture's path, then one probability for each class), and
    /// say which preprocessing would fit better
    #[arg(long, value_name = "FILE.csv")]
    against: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Found {
    name: String,
    version: String,
    license: Option<String>,
    /// SHA-256 of the model's files.
    digest: String,
    /// Height and width, pixels.
    input: [u32; 2],
    classes: Vec<String>,
    load_ms: f64,
    infer_ms: f64,
    weights_mib: f64,
    arena_mib: f64,
    /// Layers that heatmaps can be drawn of.
    layers: usize,
    /// Why there are no heatmaps.
    unexplained: Option<String>,
    /// What was adapted when the file was read, and doubts about the manifest.
    notes: Vec<String>,
    /// The engine's own operations.
    native_operators: Vec<&'static str>,
    /// Operators that tract evaluates, with the first node of each.
    fallback_operators: BTreeMap<String, String>,
    /// Nodes that were not compared with onnxruntime as they are used, with the reason.
    unverified_operators: Vec<String>,
    /// What `--against` found.
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<Verdict>,
}

/// Runs the command.
///
/// # Errors
/// The model cannot be loaded or run; its probabilities are not those of `--against`.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let model = ModelOption { path: arguments.model.clone() };
    let classifier = model.classifier(Options::default())?;
    let (mut found, operators) = look_at(&classifier)?;
    found.against =
        arguments.against.as_deref().map(|file| compare(&model, &classifier, file)).transpose()?;
    if arguments.json {
        writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&found)?)?;
    } else {
        print(&found, &operators)?;
    }
    match found.against.map(|verdict| verdict.agreement) {
        Some(agreement) if !agreement.is_within_tolerance() => {
            anyhow::bail!("the probabilities differ by up to {:.4}", agreement.largest_difference)
        }
        _ => Ok(()),
    }
}

fn print(found: &Found, operators: &Operators) -> io::Result<()> {
    let out = &mut io::stdout();
    let Found { name, version, input: [height, width], classes, layers, .. } = found;
    writeln!(out, "model       {name} {version}")?;
    writeln!(out, "license     {}", found.license.as_deref().unwrap_or("not stated"))?;
    writeln!(out, "digest      {}", found.digest)?;
    writeln!(out, "input       {width}x{height} pixels")?;
    writeln!(out, "classes     {}: {}", classes.len(), shortened(classes))?;
    writeln!(out, "load        {:.0} ms, one inference {:.1} ms", found.load_ms, found.infer_ms)?;
    writeln!(
        out,
        "memory      weights {:.1} MiB, arena {:.1} MiB",
        found.weights_mib, found.arena_mib
    )?;
    writeln!(out, "operators   {operators}")?;
    match &found.unexplained {
        Some(reason) => writeln!(out, "heatmaps    none: {reason}")?,
        None => writeln!(out, "heatmaps    of {layers} layers")?,
    }
    for node in &found.unverified_operators {
        writeln!(out, "unverified  {node}: not compared with onnxruntime")?;
    }
    for note in &found.notes {
        writeln!(out, "note        {note}")?;
    }
    if let Some(verdict) = &found.against {
        writeln!(out, "against     {verdict}")?;
    }
    Ok(())
}

/// Compares with the probabilities in a CSV file.
fn compare(model: &ModelOption, classifier: &Classifier, file: &Path) -> anyhow::Result<Verdict> {
    let reference = Reference::read(file, &classifier.manifest())?;
    Ok(Comparison::new(&model.source(), &Options::default(), reference)?.verdict()?)
}

fn look_at(classifier: &Classifier) -> anyhow::Result<(Found, Operators)> {
    let checked = classifier.check()?;
    let manifest = classifier.manifest();
    let mib = |bytes: usize| bytes as f64 / derm::memory::MIB;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(3600);
    let Operators { native, fallback } = &checked.operators;
    let found = Found {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        license: manifest.license.clone(),
        digest: checked.digest.to_string(),
        input: [manifest.input.height, manifest.input.width],
        classes: manifest.classes.iter().map(|class| class.id.clone()).collect(),
        load_ms: checked.load.as_secs_f64() * 1e3,
        infer_ms: checked.infer.as_secs_f64() * 1e3,
        weights_mib: mib(checked.footprint.weights),
        arena_mib: mib(checked.footprint.arena),
        layers: classifier.describe(deadline)?.layers.len(),
        unexplained: checked.unexplained.map(|reason| reason.to_string()),
        notes: checked.notes,
        native_operators: native.iter().copied().collect(),
        fallback_operators: fallback.clone(),
        unverified_operators: checked.unverified,
        against: None,
    };
    Ok((found, checked.operators))
}

/// The first names of a list.
fn shortened(names: &[String]) -> String {
    let shown = names.len().min(10);
    let rest = if names.len() > shown { ", ..." } else { "" };
    format!("{}{rest}", names[..shown].join(", "))
}
