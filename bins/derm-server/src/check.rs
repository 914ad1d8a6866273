//! `--check`: loads the model, runs it once, and prints what was found.

use crate::config::Config;
use crate::model;
use derm::{Agreement, Comparison, Reference};
use std::io::Write;
use std::path::Path;

/// Prints the report on standard output.
pub(crate) fn print(config: &Config, classifier: &derm::Classifier) -> anyhow::Result<()> {
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
    let derm::Operators { native, fallback } = &checked.operators;
    let native: Vec<&str> = native.iter().copied().collect();
    let fallback: Vec<String> =
        fallback.iter().map(|(operator, node)| format!("{operator} ({node})")).collect();
    let listed = |names: &[String]| match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    writeln!(
        std::io::stdout(),
        "operators: native {}; evaluated by tract: {}; not compared with onnxruntime: {}",
        native.join(", "),
        listed(&fallback),
        listed(&checked.unverified),
    )?;
    for note in &checked.notes {
        writeln!(std::io::stdout(), "note: {note}")?;
    }
    Ok(())
}

/// Compares with the probabilities in a CSV file. Fails if they do not agree, after a search for
/// preprocessing that fits better.
pub(crate) fn compare(config: &Config, file: &Path) -> anyhow::Result<()> {
    let source = model::source(config)?;
    let reference = Reference::read(file, &source.manifest()?)?;
    let comparison = Comparison::new(&source, &model::options(config), reference)?;
    let found = comparison.agreement()?;
    let mut to = std::io::stdout();
    writeln!(to, "against {}: {}", file.display(), shown(&found))?;
    if found.is_within_tolerance() {
        return Ok(());
    }
    if let Some(better) = comparison.better_fit()? {
        writeln!(to, "better: {}, with this in [input]:", shown(&better.agreement))?;
        for line in &better.changes {
            writeln!(to, "    {line}")?;
        }
    } else {
        writeln!(
            to,
            "no usual preprocessing fits better: are classes, output and weights the same?"
        )?;
    }
    anyhow::bail!("the probabilities differ by up to {:.4}", found.largest_difference)
}

fn shown(agreement: &Agreement) -> String {
    format!(
        "{} pictures, {} with the same most probable class, probabilities differ by {:.4} in the mean, {:.4} at most",
        agreement.pictures,
        agreement.same_class,
        agreement.mean_difference,
        agreement.largest_difference,
    )
}
