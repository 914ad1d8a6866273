//! `derm quantize` and `cargo xtask quantize`: stores a model's weights as float16, or makes a network of
//! 8-bit integers of it; files that other ONNX runtimes load, too.

mod float16;
mod int8;

use anyhow::Context;
use std::path::PathBuf;

/// Store a model's weights as float16, or with --int8 quantise it to 8 bits
///
/// Float16 weights halve the file, and arithmetic stays float32. With --int8, weights and activations become 8-bit
/// integers (QDQ format), with ranges from the pictures of --images.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The float ONNX file
    input: PathBuf,
    /// The file to write [default: INPUT with .f16.onnx or .int8.onnx]
    #[arg(short, long)]
    out: Option<PathBuf>,
    /// Compare predictions of both files on the pictures in this folder; with --int8, calibrate on them
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// The manifest [default: beside OUT or INPUT, ending in .toml]
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Quantise weights and activations to 8-bit integers
    #[arg(long, requires = "images")]
    int8: bool,
    #[command(flatten)]
    calibration: int8::Calibration,
}

/// Runs the command.
///
/// # Errors
/// The file cannot be read, quantised, written or, with `--images`, run.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.images {
        Some(images) if arguments.int8 => int8::run(arguments, images),
        _ => float16::run(arguments),
    }
}

/// The manifest that is named, or the first that lies beside one of these files.
fn manifest(arguments: &Arguments, files: [PathBuf; 2]) -> anyhow::Result<PathBuf> {
    let beside = files.map(|file| file.with_extension("toml"));
    let candidates = arguments.manifest.iter().chain(&beside);
    candidates
        .into_iter()
        .find(|path| path.exists())
        .cloned()
        .with_context(|| format!("no manifest: neither --manifest nor {}", beside[0].display()))
}
