//! `derm COMMAND`: the classifier on the command line, one module a command.

use clap::{CommandFactory, Parser};
use derm_cli::predict::Outcome;
use derm_cli::{check, evaluate, explain, manifest, predict, profile, quantize};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Classify pictures with an ONNX model in little memory, and explain the answers.
///
/// Uses the bundled model of skin lesions unless --model names another; it is for education and research, never for a
/// diagnosis. Exit status: 0, or 1 where some pictures could not be read, or 2 where nothing could be done.
#[derive(Parser)]
#[command(name = "derm", version, propagate_version = true)]
enum Command {
    Predict(predict::Arguments),
    Explain(explain::Arguments),
    Check(check::Arguments),
    Manifest(manifest::Arguments),
    Evaluate(evaluate::Arguments),
    Quantize(quantize::Arguments),
    Profile(profile::Arguments),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages to a folder
    Man {
        /// The folder
        folder: PathBuf,
    },
}

fn main() -> ExitCode {
    derm::memory::tune_allocator();
    match run(Command::parse()) {
        Ok(Outcome::Complete) => ExitCode::SUCCESS,
        Ok(Outcome::Partial) => ExitCode::from(1),
        // `derm predict ... | head`: nobody reads any more.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "derm: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> anyhow::Result<Outcome> {
    match command {
        Command::Predict(arguments) => return predict::run(&arguments),
        Command::Explain(arguments) => return explain::run(&arguments),
        Command::Check(arguments) => check::run(&arguments)?,
        Command::Manifest(arguments) => manifest::run(&arguments)?,
        Command::Evaluate(arguments) => evaluate::run(&arguments)?,
        Command::Quantize(arguments) => quantize::run(&arguments)?,
        Command::Profile(arguments) => profile::run(&arguments)?,
        Command::Completions { shell } => {
            // Into memory, where writing cannot fail.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Command::command(), "derm", &mut script);
            io::stdout().write_all(&script)?;
        }
        Command::Man { folder } => {
            std::fs::create_dir_all(&folder)?;
            clap_mangen::generate_to(Command::command(), &folder)?;
        }
    }
    Ok(Outcome::Complete)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| match cause.downcast_ref::<io::Error>() {
        Some(error) => broken(error),
        None => cause.downcast_ref::<csv::Error>().is_some_and(
            |error| matches!(error.kind(), csv::ErrorKind::Io(error) if broken(error)),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Command::command().debug_assert();
    }
}
