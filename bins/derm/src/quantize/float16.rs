//! Float16 weights, in a file that every ONNX runtime loads.

use super::{Arguments, manifest};
use anyhow::{Context, bail};
use derm::{Classifier, ModelSource, Options, Report, Request};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Writes the file, and compares both where there are pictures.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let stdout = &mut io::stdout();
    let input = &arguments.input;
    let out = arguments.out.clone().unwrap_or_else(|| input.with_extension("f16.onnx"));
    let mut model = derm_onnx::read(input)?;
    let report = derm_onnx::narrow(&mut model).with_context(|| input.display().to_string())?;
    derm_onnx::write(&model, &out)?;

    writeln!(stdout, "{} -> {}", input.display(), out.display())?;
    let share = 100.0 * report.bytes_after as f64 / report.bytes_before as f64;
    writeln!(stdout, "{} -> {} bytes ({share:.1} %)", report.bytes_before, report.bytes_after)?;
    writeln!(stdout, "{} tensors are float16 now", report.narrowed)?;
    for kept in &report.kept {
        writeln!(stdout, "{:?} stays float32: {}", kept.name, kept.reason)?;
    }
    match &arguments.images {
        Some(folder) => compare(arguments, &out, folder),
        None => {
            writeln!(stdout, "answers were not compared: --images DIR does")?;
            Ok(())
        }
    }
}

fn compare(arguments: &Arguments, out: &Path, folder: &Path) -> anyhow::Result<()> {
    let stdout = &mut io::stdout();
    let beside = [out.to_owned(), arguments.input.clone()];
    let manifest = manifest(arguments, beside)?;
    let classifier = |model: &Path| {
        let source = ModelSource::Files { model: model.to_owned(), manifest: manifest.clone() };
        Classifier::new(source, Options::default())
    };
    let (wide, narrow) = (classifier(&arguments.input)?, classifier(out)?);
    let classify = |classifier: &Classifier, bytes: &[u8]| -> Result<Report, derm::Error> {
        let deadline = Instant::now() + Duration::from_secs(600);
        classifier.classify(&classifier.open(bytes)?, &Request::default(), deadline)
    };
    let (mut pictures, mut agreeing, mut largest, mut sum, mut values) = (0, 0, 0f32, 0f64, 0u64);
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    paths.sort();
    for path in paths.iter().filter(|path| path.is_file()) {
        let bytes = std::fs::read(path)?;
        let first = match classify(&wide, &bytes) {
            Err(derm::Error::Picture(error)) => {
                writeln!(stdout, "{} is left out: {error}", path.display())?;
                continue;
            }
            result => result?.predictions,
        };
        let second = classify(&narrow, &bytes)?.predictions;
        pictures += 1;
        agreeing += usize::from(first[0].class == second[0].class);
        for a in &first {
            let b = second.iter().find(|b| b.index == a.index).context("the same classes")?;
            let difference = (a.probability - b.probability).abs();
            largest = largest.max(difference);
            sum += f64::from(difference);
            values += 1;
        }
    }
    if pictures == 0 {
        bail!("no picture in {} can be read", folder.display());
    }
    writeln!(stdout, "compared on {pictures} pictures, probabilities 0..=1:")?;
    writeln!(stdout, "  largest difference {largest:.6}, mean {:.6}", sum / values as f64)?;
    let share = 100.0 * agreeing as f64 / pictures as f64;
    writeln!(stdout, "  top-1 agreement {agreeing} of {pictures} ({share:.2} %)")?;
    Ok(())
}
