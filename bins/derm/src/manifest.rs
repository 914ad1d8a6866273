//! `derm manifest`: writes a draft of an ONNX file's manifest.

use anyhow::Context;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

/// Draft the manifest of an ONNX file: shapes, layout and kind of output from the graph, and what the configuration of
/// timm, Hugging Face or Keras beside it says; what nothing says is marked CHECK
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The ONNX file
    model: PathBuf,
    /// Write to this file, which must not exist yet [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// The file is no ONNX file of a classifier; the output exists or cannot be written.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let draft = derm::draft_manifest(&arguments.model)?;
    match &arguments.output {
        Some(path) => File::create_new(path)
            .and_then(|mut file| file.write_all(draft.as_bytes()))
            .with_context(|| path.display().to_string()),
        None => Ok(io::stdout().write_all(draft.as_bytes())?),
    }
}
