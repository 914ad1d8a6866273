//! Python environments with pinned packages, for peers that are written in Python.

use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Python of a virtual environment in `folder` with the packages of each requirements file (and flags
/// for pip); created the first time.
pub(crate) fn environment(folder: &str, lists: &[(&str, &[&str])]) -> anyhow::Result<PathBuf> {
    let python = Path::new(folder).join("bin/python");
    if !python.exists() {
        call(Command::new("python3").args(["-m", "venv", folder]))?;
    }
    for (list, flags) in lists {
        let mut pip = Command::new(&python);
        call(pip.args(["-m", "pip", "install", "--quiet", "-r", list]).args(*flags))?;
    }
    Ok(python)
}

/// Runs a command; the error is its stderr.
pub(crate) fn call(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
