//! Python interpreters with packages that some tests need.

use std::path::{Path, PathBuf};
use std::process::Command;

/// An interpreter that can run `imports`: the first of those that `DERM_PYTHON` names by absolute path, with
/// `:` between, or else `python3`.
pub fn python_with(imports: &str) -> Option<PathBuf> {
    let named = std::env::var("DERM_PYTHON").unwrap_or_default();
    let candidates = named.split(':').filter(|name| !name.is_empty()).chain(["python3"]);
    let has = |python: &&str| {
        let run = Command::new(python).args(["-c", imports]).output();
        run.is_ok_and(|run| run.status.success())
    };
    candidates.into_iter().find(has).map(|python| Path::new(python).to_owned())
}
