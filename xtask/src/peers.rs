//! Peers: other engines and servers that commands measure for comparison. Installed and built under
//! `target/peers`, with their models converted.

use crate::python::{call, environment};
use crate::server::cargo;
use anyhow::anyhow;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The programs that drive the peers.
pub(crate) const FOLDER: &str = "xtask/peers";
/// The virtual environment, and what is built in it.
const ENVIRONMENT: &str = "target/peers";
/// Requirement files, with flags for pip.
const PACKAGES: &[(&str, &[&str])] = &[
    ("xtask/peers/requirements.txt", &[]),
    ("xtask/peers/requirements-alone.txt", &["--no-deps"]),
];

/// The peers' packages, installed once.
pub(crate) struct Peers {
    /// The environment's Python, or why it could not be installed.
    python: Result<PathBuf, String>,
}

impl Peers {
    /// Installs the Python packages; the first time this takes minutes.
    pub(crate) fn install() -> Peers {
        Peers { python: environment(ENVIRONMENT, PACKAGES).map_err(|error| format!("{error:#}")) }
    }

    /// The environment's Python.
    pub(crate) fn python(&self) -> anyhow::Result<&Path> {
        self.python.as_deref().map_err(|reason| anyhow!(reason.clone()))
    }

    /// A folder beside the environment.
    pub(crate) fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = Path::new(ENVIRONMENT).join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// The path of the model in the engine's format, converted if it does not exist yet. `name` identifies
    /// the model.
    pub(crate) fn convert(
        &self,
        file: &Path,
        name: &str,
        side: u32,
        engine: &str,
    ) -> anyhow::Result<PathBuf> {
        let tools = Path::new(ENVIRONMENT).canonicalize()?;
        let (mut tool, made) = match engine {
            "MNN" => {
                let mut tool = Command::new(tools.join("bin/mnnconvert"));
                let arguments =
                    "-f ONNX --modelFile model.onnx --MNNModel model.mnn --fp16 --bizCode x";
                tool.args(arguments.split(' '));
                (tool, "model.mnn")
            }
            "ncnn" => {
                let pnnx = self.module_file("pnnx")?.with_file_name("pnnx");
                let mut tool = Command::new(pnnx);
                tool.args(["model.onnx", &format!("inputshape=[1,3,{side},{side}]"), "fp16=1"]);
                (tool, "model")
            }
            _ => return Ok(file.to_owned()),
        };
        let folder = self.folder("converted")?.join(name).join(engine);
        let marker = folder.join("converted");
        if !marker.exists() {
            std::fs::create_dir_all(&folder)?;
            std::fs::copy(file, folder.join("model.onnx"))?;
            call(tool.current_dir(&folder))?;
            std::fs::write(marker, "")?;
        }
        Ok(folder.join(made))
    }

    /// The folder of a Python module.
    pub(crate) fn module_file(&self, module: &str) -> anyhow::Result<PathBuf> {
        let find = format!("import importlib.util as u; print(u.find_spec('{module}').origin)");
        let output = Command::new(self.python()?).args(["-c", &find]).output()?;
        Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
    }

    /// A program from crates.io, installed once.
    pub(crate) fn tool(&self, name: &str, version: &str) -> anyhow::Result<PathBuf> {
        let tools = self.folder("tools")?;
        let program = tools.join("bin").join(name);
        if !program.exists() {
            let mut install = cargo();
            install.args(["install", name, "--version", version, "--locked", "--quiet"]);
            call(install.arg("--root").arg(&tools).arg("--target-dir").arg(tools.join("build")))?;
        }
        Ok(program)
    }

    /// Builds a program of `xtask/peers/rust`.
    pub(crate) fn rust(&self, program: &str) -> anyhow::Result<PathBuf> {
        let target = Path::new(ENVIRONMENT).join("rust");
        let manifest = Path::new(FOLDER).join("rust/Cargo.toml");
        let mut build = cargo();
        build.args(["build", "--quiet", "--release", "--locked", "--manifest-path"]).arg(manifest);
        call(build.arg("--target-dir").arg(&target))?;
        Ok(target.join("release").join(program))
    }
}
