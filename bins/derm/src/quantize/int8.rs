//! Quantisation to 8 bits: pictures are read, the quantiser runs, and its report is printed.

use super::{Arguments, manifest};
use crate::evaluate::labels::{self, Labelled};
use crate::evaluate::{self, Interval, bar};
use crate::model::allows_unverified;
use crate::pictures;
use anyhow::{Context, ensure};
use derm::{Classifier, Limits, Manifest, ModelSource, Options, Picture};
use derm_model::EngineOptions;
use derm_preprocess::RgbImage;
use derm_quantize::{LayerReport, Progress, Report, Settings, quantize};
use indicatif::{ParallelProgressIterator, ProgressBar};
use rayon::prelude::*;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// How `--int8` calibrates and judges.
#[derive(Debug, clap::Args)]
pub(super) struct Calibration {
    /// Calibrate on at most so many pictures of --images, evenly taken
    #[arg(long, value_name = "NUMBER", default_value_t = 256, requires = "int8")]
    pictures: usize,
    /// The largest share of these pictures, 0..1, whose most probable class may change: layers that lose most stay in float until it holds
    #[arg(long, value_name = "SHARE", default_value_t = 0.02, requires = "int8")]
    max_drop: f64,
    /// Labels, as `derm evaluate` reads them: print accuracy before and after
    #[arg(long, value_name = "CSV", requires = "int8")]
    labels: Option<PathBuf>,
    /// Folder of the labelled pictures [default: that of --images]
    #[arg(long, value_name = "DIR", requires = "labels")]
    data: Option<PathBuf>,
    /// Judge by one part of a split only: a CSV with `lesion_id,part` or `image_id,part`
    #[arg(long, value_name = "CSV", requires = "labels")]
    split: Option<PathBuf>,
    /// The part of the split
    #[arg(long, default_value = "validation", requires = "split")]
    part: String,
}

/// Quantises, writes the file with its manifest, and prints what that did.
pub(super) fn run(arguments: &Arguments, images: &Path) -> anyhow::Result<()> {
    let Calibration { max_drop, pictures: count, .. } = arguments.calibration;
    ensure!((0.0..=1.0).contains(&max_drop), "--max-drop is a share, 0..1");
    ensure!(count > 0, "--pictures is at least 1");
    let is_folder = arguments.input.is_dir();
    let input =
        if is_folder { arguments.input.join("model.onnx") } else { arguments.input.clone() };
    let out = arguments.out.clone().unwrap_or_else(|| input.with_extension("int8.onnx"));
    ensure!(!is_same(&input, &out), "OUT is INPUT: the float file is needed later");
    let manifest_path = manifest(arguments, [input.clone(), out.clone()])?;
    let text = std::fs::read_to_string(&manifest_path)
        .with_context(|| manifest_path.display().to_string())?;
    let parsed = Manifest::parse(&text).map_err(anyhow::Error::msg)?;
    let judged = judged(&arguments.calibration, images, &parsed)?;

    if let Some(folder) = out.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let model = derm_onnx::read(&input)?;
    let before = std::fs::metadata(&input)?.len();
    let views = views(images, count, &parsed)?;
    let allow_unverified = allows_unverified();
    let engine = EngineOptions { allow_unverified, ..EngineOptions::default() };
    let bars = Bars(Mutex::new(ProgressBar::hidden()));
    let quantized = quantize(model, &text, &views, &Settings { max_drop, engine }, &bars);
    bars.current().finish_and_clear();
    let quantized = quantized.with_context(|| input.display().to_string())?;
    derm_onnx::write(&quantized.model, &out)?;
    let beside = out.with_extension("toml");
    if !is_same(&beside, &manifest_path) {
        std::fs::write(&beside, &text).with_context(|| beside.display().to_string())?;
    }

    writeln!(io::stdout(), "{} -> {} (and {})", input.display(), out.display(), beside.display())?;
    let after = std::fs::metadata(&out)?.len();
    let share = 100.0 * after as f64 / before as f64;
    writeln!(io::stdout(), "{before} -> {after} bytes ({share:.1} %)")?;
    print(&quantized.report)?;
    let Some(judged) = judged else {
        writeln!(io::stdout(), "accuracy was not measured: --labels CSV does")?;
        return Ok(());
    };
    judged.print([(&input, &manifest_path), (&out, &beside)], allow_unverified)
}

fn is_same(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// What the network sees of the pictures in a folder, at most `count` of them.
fn views(folder: &Path, count: usize, manifest: &Manifest) -> anyhow::Result<Vec<RgbImage>> {
    let paths = pictures::find(&[folder.to_owned()])?;
    let count = count.min(paths.len());
    let chosen: Vec<&PathBuf> =
        (0..count).map(|number| &paths[number * paths.len() / count]).collect();
    let view = |path: &&PathBuf| -> anyhow::Result<RgbImage> {
        let limits = Limits::default();
        let bytes = pictures::read(path, &limits)?;
        Ok(Picture::open(bytes, &limits)?.prepare(&manifest.input)?.view)
    };
    let bar = bar(chosen.len(), "pictures");
    let views: Vec<_> = chosen.par_iter().progress_with(bar).map(view).collect();
    let mut read = Vec::with_capacity(views.len());
    for (path, view) in chosen.into_iter().zip(views) {
        match view {
            Ok(view) => read.push(view),
            Err(error) => writeln!(io::stdout(), "{} is left out: {error:#}", path.display())?,
        }
    }
    ensure!(!read.is_empty(), "no picture in {} can be read", folder.display());
    Ok(read)
}

/// The labelled pictures by which both files are judged.
struct Judged {
    labelled: Vec<Labelled>,
    files: std::collections::HashMap<String, PathBuf>,
}

fn judged(
    calibration: &Calibration,
    images: &Path,
    manifest: &Manifest,
) -> anyhow::Result<Option<Judged>> {
    let Some(csv) = &calibration.labels else { return Ok(None) };
    let mut labelled = labels::read(csv, manifest)?;
    if let Some(split) = &calibration.split {
        labelled = labels::keep_part(labelled, split, &calibration.part)?;
    }
    let files = pictures::index(calibration.data.as_deref().unwrap_or(images))?;
    labelled.retain(|one| files.contains_key(&one.image));
    ensure!(!labelled.is_empty(), "none of the labelled pictures is in the folder");
    Ok(Some(Judged { labelled, files }))
}

impl Judged {
    /// Prints the figures of both files, each a model and its manifest.
    fn print(
        &self,
        files: [(&PathBuf, &PathBuf); 2],
        allow_unverified: bool,
    ) -> anyhow::Result<()> {
        let figures = |(model, manifest): (&PathBuf, &PathBuf)| {
            let source = ModelSource::Files { model: model.clone(), manifest: manifest.clone() };
            let options = Options::default().with_unverified_operators(allow_unverified);
            evaluate::figures(&Classifier::new(source, options)?, &self.labelled, &self.files)
        };
        let [before, after] = files;
        let ((pictures, before), (_, after)) = (figures(before)?, figures(after)?);
        writeln!(io::stdout(), "\n{pictures} labelled pictures, 95 % intervals")?;
        writeln!(io::stdout(), "{:<27} {:<21} {:<21} change", "", "float", "int8")?;
        for (name, old) in &before {
            let new = &after[name];
            let (change, shown) = (new.value - old.value, |of: &Interval| format!("{of:.4}"));
            let (old, new) = (shown(old), shown(new));
            writeln!(io::stdout(), "{name:<27} {old:<21} {new:<21} {change:+.4}")?;
        }
        Ok(())
    }
}

fn print(report: &Report) -> io::Result<()> {
    let out = &mut io::stdout();
    writeln!(out, "\nsignal to noise of each integer layer, dB, with all before it quantised too")?;
    for LayerReport { value, operator, method, range: (low, high), sqnr } in &report.layers {
        let method = method.name();
        writeln!(out, "{sqnr:6.1}  {operator:<18} {low:9.3}..{high:<9.3} {method:<10}  {value}")?;
    }
    let used = |is_used: bool| if is_used { "used" } else { "not used (no gain)" };
    writeln!(out, "cross-layer equalisation: {}", used(report.is_equalized))?;
    writeln!(out, "bias correction: {}", used(report.corrects_bias))?;
    let weights = if report.half { "float16" } else { "float32" };
    match &report.in_float[..] {
        [] => writeln!(out, "no layer stays in float")?,
        names => writeln!(
            out,
            "{} layers stay in float ({weights} weights): {}",
            names.len(),
            names.join(", ")
        )?,
    }
    writeln!(out, "{}", report.operators)?;
    let Report { agreeing, pictures, score_sqnr, .. } = report;
    let share = 100.0 * *agreeing as f64 / *pictures as f64;
    writeln!(out, "scores against float, {pictures} calibration pictures: {score_sqnr:.1} dB")?;
    writeln!(out, "top-1 agreement {agreeing} of {pictures} ({share:.2} %)")?;
    Ok(())
}

/// A progress bar for each part of the work.
struct Bars(Mutex<ProgressBar>);

impl Bars {
    fn current(&self) -> ProgressBar {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Progress for Bars {
    fn begin(&self, what: &str, steps: u64) {
        self.current().finish_and_clear();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            bar(usize::try_from(steps).unwrap_or(0), what);
    }

    fn step(&self) {
        self.current().inc(1);
    }
}
