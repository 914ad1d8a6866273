//! The examples of a page of documentation, run as they stand against a server.

use super::{Server, python_with};
use std::path::Path;
use std::process::Command;

/// Packages of Python that examples may need.
const PACKAGES: [&str; 4] = ["kserve", "numpy", "requests", "tritonclient"];

/// A block of code.
pub struct Example {
    language: String,
    pub source: String,
}

/// The examples of a page in languages that are run.
pub fn examples(page: &str) -> Vec<Example> {
    let blocks = page.split("```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'));
    let run = blocks.filter(|(language, _)| ["sh", "python", "js"].contains(language));
    run.map(|(language, source)| Example { language: language.into(), source: source.into() })
        .collect()
}

impl Example {
    /// Runs it in this folder; what it printed. `None`: its interpreter is missing, which is said.
    pub fn run(
        &self,
        server: &Server,
        folder: &Path,
        environment: &[(&str, &str)],
    ) -> Option<String> {
        let mut command = self.interpreter()?;
        let source = self.source.replace("http://localhost:8000", &server.address());
        let source = source.replace("localhost:8000", &format!("127.0.0.1:{}", server.port));
        command.arg(source).current_dir(folder).envs(environment.iter().copied());
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}\n{text}\n{errors}", self.source);
        Some(text)
    }

    /// A command that takes the source as its last argument.
    fn interpreter(&self) -> Option<Command> {
        let (program, arguments, needed) = match self.language.as_str() {
            "sh" => ("bash", &["-euo", "pipefail", "-c"][..], "curl"),
            "js" => ("node", &["--input-type=module", "--eval"][..], "node"),
            _ => return self.python(),
        };
        if Command::new(needed).arg("--version").output().is_err() {
            eprintln!("SKIPPED: examples of {}: {needed} is not installed", self.language);
            return None;
        }
        let mut command = Command::new(program);
        command.args(arguments);
        Some(command)
    }

    fn python(&self) -> Option<Command> {
        let imported: Vec<&str> = PACKAGES.into_iter().filter(|name| self.imports(name)).collect();
        let imports = format!("import {}", imported.join(", "));
        let Some(python) = python_with(&imports) else {
            eprintln!(
                "SKIPPED: examples of Python: DERM_PYTHON names no Python that can `{imports}`"
            );
            return None;
        };
        let mut command = Command::new(python);
        command.arg("-c");
        Some(command)
    }

    fn imports(&self, package: &str) -> bool {
        let of = |line: &str| {
            let rest = line.strip_prefix("import ").or(line.strip_prefix("from "));
            rest.is_some_and(|rest| rest.split([' ', '.']).next() == Some(package))
        };
        self.source.lines().any(of)
    }
}
