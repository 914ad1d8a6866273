//! `--check`: loads the model, runs it once, and prints what was found.

use crate::config::Config;
use crate::models;
use anyhow::Context;
use derm::{Classifier, Comparison, Reference};
use std::io::Write;
use std::path::Path;

/// Prints the report on each model on standard output.
pub(crate) fn print(config: &Config, models: &[(String, Classifier)]) -> anyhow::Result<()> {
    for (name, classifier) in models {
        print_model(config, classifier).with_context(|| name.clone())?;
        if models.len() > 1 {
            // As a server does where the budget does not hold all of them.
            classifier.unload();
        }
    }
    Ok(())
}

fn print_model(config: &Config, classifier: &Classifier) -> anyhow::Result<()> {
    let checked = classifier.check()?;
    let manifest = classifier.manifest();
    let mib = |bytes: u64| bytes as f64 / derm::memory::MIB;
    let usage = derm::memory::usage().unwrap_or_default();
    let limit = derm::memory::limit().map_or_else(
        || "not known".to_owned(),
        |limit| format!("{:.0} MiB ({:?})", mib(limit.bytes), limit.source),
    );
    let heatmaps = match (&checked.unexplained, config.enable_gradcam) {
        (Some(reason), _) => format!("none: {reason}"),
        (None, true) => "Grad-CAM".to_owned(),
        (None, false) => "switched off by ENABLE_GRADCAM".to_owned(),
    };
    write!(
        std::io::stdout(),
        "configuration: ok, would listen on {}:{}\n\
             model: {} {}, {} classes, input {}x{}\n\
             heatmaps: {heatmaps}\n\
             load: {:.0} ms, one inference: {:.0} ms\n\
             weights: {:.1} MiB, arena of one inference: {:.1} MiB, budget {:.0} MiB\n\
             memory: {:.1} MiB now, {:.1} MiB at most so far, limit {limit}\n",
        config.host,
        config.port,
        manifest.name,
        manifest.version,
        manifest.classes.len(),
        manifest.input.width,
        manifest.input.height,
        checked.load.as_secs_f64() * 1e3,
        checked.infer.as_secs_f64() * 1e3,
        mib(checked.footprint.weights as u64),
        mib(checked.footprint.arena as u64),
        mib(config.budget()),
        mib(usage.rss),
        mib(usage.peak),
    )?;
    let unverified = match &checked.unverified[..] {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    writeln!(
        std::io::stdout(),
        "operators: {}; not compared with onnxruntime: {unverified}",
        checked.operators,
    )?;
    for note in &checked.notes {
        writeln!(std::io::stdout(), "note: {note}")?;
    }
    Ok(())
}

/// Compares with the probabilities in a CSV file. Fails if they do not agree, after a search for
/// preprocessing that fits better.
pub(crate) fn compare(config: &Config, file: &Path) -> anyhow::Result<()> {
    let source = models::only_source(config)?;
    let reference = Reference::read(file, &source.manifest()?)?;
    let verdict = Comparison::new(&source, &models::options(config), reference)?.verdict()?;
    writeln!(std::io::stdout(), "against {}: {verdict}", file.display())?;
    let agreement = &verdict.agreement;
    anyhow::ensure!(
        agreement.is_within_tolerance(),
        "the probabilities differ by up to {:.4}",
        agreement.largest_difference
    );
    Ok(())
}
