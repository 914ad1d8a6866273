//! Memory of other servers on the same model and pictures.

use super::pictures::{EXAMPLE, tiny};
use super::states::States;
use crate::peers::{FOLDER, Peers};
use crate::server::Server;
use anyhow::Context;
use derm::ModelSource;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The columns of the table.
const STATES: [&str; 6] = [
    "idle",
    "loaded",
    "peak while loading",
    "peak while predicting",
    "peak with Grad-CAM",
    "1 s after",
];

/// Another server.
struct Peer {
    name: &'static str,
    kind: Kind,
}

enum Kind {
    /// FastAPI with an engine of `fastapi_server.py`, by its name there.
    FastApi(&'static str),
    /// The program in `rten/`.
    Rten,
    /// `django_server.py`, which has its own model, as the original application.
    Django,
}

const PEERS: [Peer; 6] = [
    Peer { name: "RTen, HTTP", kind: Kind::Rten },
    Peer { name: "FastAPI, ncnn", kind: Kind::FastApi("ncnn") },
    Peer { name: "FastAPI, MNN", kind: Kind::FastApi("MNN") },
    Peer { name: "FastAPI, onnxruntime", kind: Kind::FastApi("onnxruntime") },
    Peer { name: "the same without its arena", kind: Kind::FastApi("onnxruntime, no arena") },
    Peer { name: "Django, TensorFlow, V2-S", kind: Kind::Django },
];

/// Measures each peer and prints it next to derm. One that cannot be installed is printed as skipped.
pub(crate) fn run(model: &Path, ours: &States) -> anyhow::Result<()> {
    println!("\n| {:<26} | {} | ours is smaller, loaded |", "MiB", STATES.join(" | "));
    println!("|{:-<28}|{}------------------------:|", "", "---:|".repeat(STATES.len()));
    let loaded = find(ours, "loaded").context("ours was not loaded")?;
    print_row("ours", ours, loaded);
    let peers = Peers::install();
    for peer in PEERS {
        match peer.command(model, &peers).and_then(|command| measure(command, &peer)) {
            Ok(states) => print_row(peer.name, &states, loaded),
            Err(error) => println!("SKIPPED {}: {error:#}", peer.name),
        }
    }
    Ok(())
}

fn find(states: &States, wanted: &str) -> Option<f64> {
    states.iter().find(|(name, _)| *name == wanted).map(|(_, mib)| *mib)
}

fn print_row(name: &str, states: &States, ours_loaded: f64) {
    let cell = |state| find(states, state).map_or("-".to_owned(), |mib| format!("{mib:.1}"));
    let cells = STATES.map(cell).join(" | ");
    let ratio = find(states, "loaded").map_or(f64::NAN, |mib| mib / ours_loaded);
    println!("| {name:<26} | {cells} | {ratio:.1}x |");
}

impl Peer {
    /// The command that starts it; builds the program and converts the model.
    fn command(&self, model: &Path, peers: &Peers) -> anyhow::Result<Command> {
        let side = ModelSource::at(model).manifest()?.input.height;
        let file = if model.is_dir() { model.join("model.onnx") } else { model.to_owned() };
        let mut command = match self.kind {
            Kind::FastApi(engine) => {
                let mut command = Command::new(peers.python()?);
                let model = peers.convert(&file, &file_name(model), side, engine)?;
                command.arg(Path::new(FOLDER).join("fastapi_server.py"));
                command.env("ENGINE", engine).env("MODEL", model);
                command
            }
            Kind::Rten => {
                let mut command = Command::new(peers.rust("rten-server")?);
                command.env("MODEL", file).env("RTEN_NUM_THREADS", "1");
                command
            }
            Kind::Django => {
                let mut command = Command::new(peers.python()?);
                let model = peers.folder("django")?.join("efficientnetv2-s.keras");
                command.arg(Path::new(FOLDER).join("django_server.py")).env("MODEL", model);
                command
            }
        };
        command.env("SIDE", side.to_string());
        Ok(command)
    }
}

/// The model's file name, to identify converted models.
fn file_name(model: &Path) -> String {
    model.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn measure(command: Command, peer: &Peer) -> anyhow::Result<States> {
    let server = Server::start_command(command)?;
    let predict =
        |query, picture: &[u8]| server.peak_of(query, "application/octet-stream", picture);
    let wait = || std::thread::sleep(Duration::from_secs(1));
    wait();
    let mut states = vec![("idle", server.rss()?)];
    let loading = predict("", &tiny()?)?;
    wait();
    states.push(("loaded", server.rss()?));
    states.push(("peak while loading", loading));
    states.push(("peak while predicting", predict("", EXAMPLE)?));
    if matches!(peer.kind, Kind::Django) {
        states.push(("peak with Grad-CAM", predict("gradcam=true", EXAMPLE)?));
    }
    wait();
    states.push(("1 s after", server.rss()?));
    Ok(states)
}
