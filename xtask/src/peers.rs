//! What others would run instead, for the commands that measure it beside ours: installed, built
//! and its models converted under `target/peers`.

use crate::python::{call, environment};
use crate::server::cargo;
use anyhow::anyhow;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs of ours around the peers.
pub(crate) const FOLDER: &str = "xtask/peers";
/// The virtual environment and what is built in it, beside what cargo builds.
const ENVIRONMENT: &str = "target/peers";
/// Lists of its packages, and flags for pip.
const PACKAGES: &[(&str, &[&str])] = &[
    ("xtask/peers/requirements.txt", &[]),
    ("xtask/peers/requirements-alone.txt", &["--no-deps"]),
];

/// The peers' packages, installed once.
pub(crate) struct Peers {
    /// The environment's Python, or why there is none.
    python: Result<PathBuf, String>,
}

impl Peers {
    /// Installs what Python has; the first time it takes minutes.
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

    /// The model in the format of that engine, made where it is not there yet; gives what the
    /// engine is to open. `name` tells models apart.
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

    /// Where Python finds a module.
    pub(crate) fn module_file(&self, module: &str) -> anyhow::Result<PathBuf> {
        let find = format!("import importlib.util as u; print(u.find_spec('{module}').origin)");
        let output = Command::new(self.python()?).args(["-c", &find]).output()?;
        Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
    }

    /// A program of crates.io, installed once.
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

    /// A program of `xtask/peers/rust`, built.
    pub(crate) fn rust(&self, program: &str) -> anyhow::Result<PathBuf> {
        let target = Path::new(ENVIRONMENT).join("rust");
        let manifest = Path::new(FOLDER).join("rust/Cargo.toml");
        let mut build = cargo();
        build.args(["build", "--quiet", "--release", "--locked", "--manifest-path"]).arg(manifest);
        call(build.arg("--target-dir").arg(&target))?;
        Ok(target.join("release").join(program))
    }
}
