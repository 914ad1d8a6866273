//! What others would run instead, on the same model and pictures, in the same run.

use super::pictures::{EXAMPLE, tiny};
use super::states::States;
use crate::server::Server;
use anyhow::{Context, ensure};
use derm::ModelSource;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const FOLDER: &str = "xtask/peers";
/// The virtual environment, beside what cargo builds.
const ENVIRONMENT: &str = "target/peers";

/// Measures FastAPI with onnxruntime, with and without its memory arena, and prints each state
/// beside ours. Without Python or its packages it says so.
pub(crate) fn run(model: &Path, ours: &States) -> anyhow::Result<()> {
    let python = match environment() {
        Ok(python) => python,
        Err(error) => {
            println!("SKIPPED the peers: {error:#}");
            return Ok(());
        }
    };
    let spec = ModelSource::at(model).manifest()?.input;
    println!("\n| {:<22} | ours | onnxruntime | without arena |", "resident memory, MiB");
    println!("|{:-<24}|-----:|------------:|--------------:|", "");
    let with = measure(&python, model, spec.height, true)?;
    let without = measure(&python, model, spec.height, false)?;
    for ((state, a), (_, b)) in with.iter().zip(&without) {
        let found = ours.iter().find(|(name, _)| name == state);
        let (_, mib) = found.with_context(|| format!("{state} was not measured"))?;
        println!(
            "| {state:<22} | {mib:.1} | {a:.0} ({:.1}x) | {b:.0} ({:.1}x) |",
            a / mib,
            b / mib
        );
    }
    Ok(())
}

/// Python with the peers' packages; installs them the first time.
fn environment() -> anyhow::Result<PathBuf> {
    let python = Path::new(ENVIRONMENT).join("bin/python");
    if !python.exists() {
        call(Command::new("python3").args(["-m", "venv", ENVIRONMENT]))?;
    }
    let list = Path::new(FOLDER).join("requirements.txt");
    call(Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r"]).arg(list))?;
    Ok(python)
}

fn call(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

fn measure(python: &Path, model: &Path, side: u32, arena: bool) -> anyhow::Result<States> {
    let file = if model.is_dir() { model.join("model.onnx") } else { model.to_owned() };
    let mut command = Command::new(python);
    command
        .arg(Path::new(FOLDER).join("fastapi_onnxruntime.py"))
        .env("MODEL", file)
        .env("SIDE", side.to_string())
        .env("ARENA", if arena { "1" } else { "0" });
    let server = Server::start_command(command)?;
    let predict = |picture: &[u8]| server.peak_of("", "application/octet-stream", picture);
    let wait = || std::thread::sleep(Duration::from_secs(1));
    wait();
    let idle = server.rss()?;
    let loading = predict(&tiny()?)?;
    wait();
    let loaded = server.rss()?;
    let predicting = predict(EXAMPLE)?;
    wait();
    let after = server.rss()?;
    Ok(vec![
        ("idle", idle),
        ("loaded", loaded),
        ("peak while loading", loading),
        ("peak while predicting", predicting),
        ("1 s after", after),
    ])
}
