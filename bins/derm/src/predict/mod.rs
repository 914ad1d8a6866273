//! `derm predict`: the classes of many pictures.

mod record;
mod resume;
mod sink;

use crate::model::ModelOption;
use crate::pictures::{self, PictureArguments};
use anyhow::Context;
use console::style;
use derm::{Classifier, Limits, Options, Request};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use record::Record;
use sink::{Format, Sink};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Pictures per thread that are classified before their records are written, in the order of the arguments.
const BATCH: usize = 32;

/// Classify pictures
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pictures: PictureArguments,
    #[command(flatten)]
    model: ModelOption,
    /// Write CSV: one row a picture, one column a class, probabilities 0..1
    #[arg(long, conflicts_with = "jsonl")]
    csv: bool,
    /// Write JSON Lines: one object a picture
    #[arg(long)]
    jsonl: bool,
    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Go on where the output file ends: its pictures are not classified again
    #[arg(long, requires = "output")]
    resume: bool,
    /// Test-time augmentation: number of flips and rotations of each picture to average
    #[arg(long, value_name = "1..8", default_value_t = 1)]
    tta: usize,
    /// Pictures that are classified at the same time [default: the number of cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Neither progress nor summary
    #[arg(short, long)]
    quiet: bool,
}

/// Whether everything could be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every picture was read.
    Complete,
    /// Some pictures could not be read; they are named.
    Partial,
}

/// Runs the command.
///
/// # Errors
/// The model cannot be loaded, the output cannot be written, or there is no picture. A picture that cannot be read is a
/// record of the output and [`Outcome::Partial`].
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let classifier = arguments.model.classifier(Options::default())?;
    let mut wanted = pictures::find(&arguments.pictures.paths)?;
    let format = match (arguments.csv, arguments.jsonl) {
        (true, _) => Format::Csv,
        (_, true) => Format::JsonLines,
        (false, false) => Format::Table,
    };
    let done = match &arguments.output {
        Some(path) if arguments.resume => resume::recorded(path, format)?,
        _ => resume::Recorded::default(),
    };
    let known = wanted.len();
    wanted.retain(|path| !done.contains(path));
    let out = sink::open(arguments.output.as_deref(), arguments.resume)?;
    let mut sink = Sink::new(out, format, &classifier.manifest(), done.is_empty())?;
    let bar = progress(arguments, wanted.len());
    if known > wanted.len() {
        bar.println(format!("{} pictures are in the file already", known - wanted.len()));
    }
    let start = Instant::now();
    let unreadable = classify(arguments, &classifier, &wanted, &mut sink, &bar)?;
    bar.finish_and_clear();
    if !arguments.quiet {
        summarise(arguments, wanted.len(), unreadable, start.elapsed())?;
    }
    Ok(if unreadable == 0 { Outcome::Complete } else { Outcome::Partial })
}

/// Classifies pictures on all threads and writes their records in order; returns how many could not be read.
fn classify(
    arguments: &Arguments,
    classifier: &Classifier,
    wanted: &[PathBuf],
    sink: &mut Sink,
    bar: &ProgressBar,
) -> anyhow::Result<usize> {
    let threads = arguments.threads.unwrap_or(0);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let request = Request::default().with_tta(arguments.tta);
    let mut unreadable = 0;
    // One batch is in memory at a time, whatever the number of pictures.
    for batch in wanted.chunks(BATCH * pool.current_num_threads()) {
        let one = |path: &PathBuf| {
            let record = look_at(classifier, path, &request)?;
            bar.inc(1);
            Ok(record)
        };
        let records: anyhow::Result<Vec<Record>> =
            pool.install(|| batch.par_iter().map(one).collect());
        for record in records? {
            if let Some(error) = &record.error {
                unreadable += 1;
                let name = record.picture.display();
                bar.suspend(|| writeln!(std::io::stderr(), "{}: {error}", style(name).red()))?;
            }
            sink.write(&record)?;
        }
        sink.flush()?;
    }
    Ok(unreadable)
}

/// The record of a picture, or of the reason why it cannot be read.
///
/// # Errors
/// What is wrong is not the picture.
fn look_at(classifier: &Classifier, path: &Path, request: &Request) -> anyhow::Result<Record> {
    let bytes = match pictures::read(path, &Limits::default()) {
        Ok(bytes) => bytes,
        Err(error) => return Ok(Record::unreadable(path, &error)),
    };
    let deadline = Instant::now() + Duration::from_secs(3600);
    let report =
        classifier.open(bytes).and_then(|picture| classifier.classify(&picture, request, deadline));
    match report {
        Ok(report) => Ok(Record::new(path, &report, &classifier.manifest())),
        Err(error @ derm::Error::Picture(_)) => Ok(Record::unreadable(path, &error.into())),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// A bar with rate and remaining time; it hides where standard error is no terminal.
fn progress(arguments: &Arguments, pictures: usize) -> ProgressBar {
    if arguments.quiet || pictures < 2 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(pictures as u64);
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {per_sec} {eta} left");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn summarise(
    arguments: &Arguments,
    pictures: usize,
    unreadable: usize,
    time: Duration,
) -> anyhow::Result<()> {
    let mut err = std::io::stderr();
    if pictures > 1 {
        let rate = pictures as f64 / time.as_secs_f64();
        writeln!(err, "{pictures} pictures in {:.1} s, {rate:.0} a second", time.as_secs_f64())?;
    }
    if unreadable > 0 {
        writeln!(err, "{}", style(format!("{unreadable} could not be read")).red())?;
    }
    if let Some(disclaimer) = arguments.model.disclaimer() {
        writeln!(err, "{disclaimer}")?;
    }
    Ok(())
}
