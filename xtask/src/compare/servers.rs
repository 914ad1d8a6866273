//! Servers over HTTP: throughput, latency and memory, under a load generator (`oha`).

use super::form::Form;
use super::report::{Bars, Table};
use super::{Arguments, median, named, ratio};
use crate::memtest::pictures::EXAMPLE;
use crate::peers::{FOLDER, Peers};
use crate::server::{Server, build};
use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const OURS: &str = "derm";
const BASE: &str = "FastAPI with onnxruntime";
const RUST: &str = "actix-web with ort";
const ORIGINAL: &str = "Django with TensorFlow";
/// All servers, derm first.
const SERVERS: [&str; 4] = [OURS, BASE, RUST, ORIGINAL];
/// The measured models, and the only one that the original application's stack has.
const MODELS: [&str; 2] = ["efficientnet-lite0", ORIGINALS];
const ORIGINALS: &str = "efficientnetv2-s";
/// Concurrent inferences: one per core.
const CORES: &str = "2";
/// Duration of the load in one turn, seconds.
const TURN: &str = "2s";

/// The servers to measure with a model: the named ones that can serve it.
pub(super) fn servers(arguments: &Arguments, model: &str, form: Form) -> Vec<String> {
    let mut servers = named(&arguments.peers, &SERVERS);
    let has_original = model == ORIGINALS && form == Form::Float;
    servers.retain(|server| server != OURS && (server != ORIGINAL || has_original));
    servers.insert(0, OURS.to_owned());
    servers
}

pub(super) fn models(arguments: &Arguments) -> Vec<String> {
    named(&arguments.models, &MODELS)
}

/// The command that starts a server with a model of the zoo in this form.
pub(super) fn command(
    peers: &Peers,
    server: &str,
    model: &str,
    form: Form,
) -> anyhow::Result<Command> {
    let entry = derm_zoo::entry(&format!("{model}.opset13")).context("no such model in the zoo")?;
    let file = form.peers_file(&entry)?;
    let mut command = match server {
        OURS => {
            let mut command = Command::new(build()?);
            // Others do not load their model afresh after some requests.
            command.env("MAX_REQUESTS", "0").env("ENABLE_GRADCAM", "false");
            command.env("MODEL_PATH", form.our_folder(&entry)?);
            command.env("HOST", "127.0.0.1").env("RUST_LOG", "error");
            command
        }
        BASE => {
            let mut command = Command::new(peers.python()?);
            command.arg(Path::new(FOLDER).join("fastapi_server.py")).env("ENGINE", "onnxruntime");
            command
        }
        RUST => {
            let mut command = Command::new(peers.rust("ort-server")?);
            command.env("ORT_DYLIB_PATH", onnxruntime(peers)?);
            command
        }
        ORIGINAL => {
            let mut command = Command::new(peers.python()?);
            let model = peers.folder("django")?.join("efficientnetv2-s.keras");
            command.arg(Path::new(FOLDER).join("django_server.py")).env("MODEL", model);
            return Ok(command);
        }
        other => bail!("no server {other:?}; there are {SERVERS:?}"),
    };
    command.env("SIDE", entry.side.to_string()).env("THREADS", CORES);
    if server != OURS {
        command.env("MODEL", file);
    }
    Ok(command)
}

/// The shared library of onnxruntime's Python package.
fn onnxruntime(peers: &Peers) -> anyhow::Result<PathBuf> {
    let folder = peers.module_file("onnxruntime")?.with_file_name("capi");
    let files = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    files
        .filter_map(|file| Some(file.ok()?.path()))
        .find(|path| path.to_string_lossy().contains("libonnxruntime.so"))
        .context("onnxruntime's package has no library")
}

/// One turn of a server, as reported by the load generator.
struct Turn {
    requests_a_second: f64,
    /// Milliseconds.
    p50: f64,
    p99: f64,
}

/// The load generator and the picture that it sends.
struct Load {
    program: PathBuf,
    picture: PathBuf,
}

struct Measured {
    name: String,
    server: Server,
    turns: Vec<Turn>,
    /// Peak resident memory, MiB.
    peak: f64,
}

pub(super) fn run(
    peers: &Peers,
    arguments: &Arguments,
    form: Form,
) -> anyhow::Result<(Table, Bars)> {
    let load = Load {
        program: peers.tool("oha", "1.16.0")?,
        picture: peers.folder("pictures")?.join("example.jpg"),
    };
    std::fs::write(&load.picture, EXAMPLE)?;
    let rounds = arguments.rounds.clamp(1, 5);
    let mut text = format!(
        "The same 800x600 JPEG from 1 to 64 clients at once, {CORES} cores (the clients' own load \
         among it), one inference a core, medians of {rounds} turns of {TURN}. To {BASE}: the ratio of \
         requests a second in one turn, median and quartiles.\n\n\
         | model | clients | server | requests/s | to {BASE} | p50, ms | p99, ms | memory at most, MiB |\n\
         |---|---:|---|---:|---:|---:|---:|---:|\n"
    );
    let mut groups = Vec::new();
    let series = SERVERS.map(str::to_owned).to_vec();
    for model in models(arguments) {
        for &clients in &arguments.clients {
            let measured = measure(peers, arguments, form, &model, clients, rounds, &load)?;
            let speed = |one: &Measured| -> Vec<f64> {
                one.turns.iter().map(|turn| turn.requests_a_second).collect()
            };
            let base = measured.iter().find(|one| one.name == BASE).map(speed);
            let mut bars = vec![None; series.len()];
            for one in &measured {
                let speeds = speed(one);
                let [middle, low, high] =
                    base.as_ref().map_or([f64::NAN; 3], |base| ratio(&speeds, base));
                let number = series.iter().position(|name| *name == one.name);
                number.into_iter().for_each(|number| bars[number] = Some(middle));
                let of = |value: fn(&Turn) -> f64| {
                    median(&one.turns.iter().map(value).collect::<Vec<f64>>())
                };
                writeln!(
                    text,
                    "| {model} | {clients} | {} | {:.0} | {middle:.2} ({low:.2}-{high:.2}) | {:.1} | {:.1} | {:.0} |",
                    one.name,
                    median(&speeds),
                    of(|turn| turn.p50),
                    of(|turn| turn.p99),
                    one.peak
                )?;
            }
            groups.push((format!("{model}, {clients}"), bars));
        }
    }
    let title = format!("requests a second over those of {BASE}; higher is better");
    let bars = Bars { title, series, groups, top: 4.0 };
    let name = if form == Form::Int8 { "servers-int8" } else { "servers" };
    Ok((Table { name: name.to_owned(), text }, bars))
}

fn measure(
    peers: &Peers,
    arguments: &Arguments,
    form: Form,
    model: &str,
    clients: usize,
    rounds: usize,
    load: &Load,
) -> anyhow::Result<Vec<Measured>> {
    let mut measured = Vec::new();
    for name in servers(arguments, model, form) {
        // It answers one after the other, a second each.
        if name == ORIGINAL && clients > 4 {
            continue;
        }
        let started = command(peers, &name, model, form).and_then(|command| {
            let server = Server::start_command(command)?;
            server.predict("", "image/jpeg", EXAMPLE)?;
            Ok(server)
        });
        match started {
            Ok(server) => measured.push(Measured { name, server, turns: Vec::new(), peak: 0.0 }),
            Err(error) => println!("SKIPPED {name}: {error:#}"),
        }
    }
    if clients == 1
        && let Some(ours) = measured.iter().find(|one| one.name == OURS)
    {
        println!(
            "{model}: {:.2} ms of a request are outside the inference",
            outside(&ours.server)?
        );
    }
    for _ in 0..rounds {
        for one in &mut measured {
            one.turns.push(turn(load, &one.server, clients)?);
            one.peak = one.server.peak()?;
        }
    }
    Ok(measured)
}

/// Time of a request to derm beside the inference, ms: receiving, decoding, resizing, answering.
fn outside(server: &Server) -> anyhow::Result<f64> {
    let once = |_| {
        let start = Instant::now();
        let answer = server.predict("", "image/jpeg", EXAMPLE)?;
        let took = start.elapsed().as_secs_f64() * 1e3;
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        Ok(took - answer["latency_ms"]["infer"].as_f64().context("no infer in latency_ms")?)
    };
    let times: Vec<f64> = (0..50).map(once).collect::<anyhow::Result<_>>()?;
    Ok(median(&times))
}

fn turn(load: &Load, server: &Server, clients: usize) -> anyhow::Result<Turn> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Report {
        summary: Summary,
        latency_percentiles: Percentiles,
        status_code_distribution: std::collections::BTreeMap<String, usize>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Summary {
        requests_per_sec: f64,
    }
    #[derive(Deserialize)]
    struct Percentiles {
        p50: f64,
        p99: f64,
    }
    let url = format!("http://127.0.0.1:{}/predict/", server.port());
    let output = Command::new(&load.program)
        .args(["--no-tui", "--output-format", "json", "--wait-ongoing-requests-after-deadline"])
        .args(["-z", TURN, "-c", &clients.to_string(), "-m", "POST", "-T", "image/jpeg", "-D"])
        .arg(&load.picture)
        .arg(url)
        .output()?;
    let message = || String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Report = serde_json::from_slice(&output.stdout).with_context(message)?;
    let statuses = &report.status_code_distribution;
    ensure!(
        statuses.keys().all(|status| status == "200"),
        "not all answers are right: {statuses:?}"
    );
    let Percentiles { p50, p99 } = report.latency_percentiles;
    let requests_a_second = report.summary.requests_per_sec;
    Ok(Turn { requests_a_second, p50: p50 * 1e3, p99: p99 * 1e3 })
}
