//! `cargo xtask cost`: what one request costs a core, against another build of the server.

use crate::process;
use crate::server::{self, Server};
use crate::statistics::quantile;
use anyhow::{Context, ensure};
use std::path::PathBuf;

/// Growth that is refused.
const MOST: f64 = 1.02;

/// Sends one request.
type Request<'a> = &'a dyn Fn(&Server) -> anyhow::Result<()>;

/// Compare the time of a core that one request takes with that of another build of the server
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The build to compare with
    #[arg(long, value_name = "FILE")]
    baseline: PathBuf,
    /// This server instead of one that is built in release mode
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Rounds, of which the median counts: a share of the requests to one, then to the other
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Requests of each kind in a round
    #[arg(long, default_value_t = 25)]
    requests: usize,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let binary = arguments.binary.clone().map_or_else(server::build, Ok)?;
    let variables = [("MAX_REQUESTS", "0".to_owned())];
    let both = [&arguments.baseline, &binary].map(|binary| Server::start(binary, &variables));
    let [baseline, server] = both;
    let (baseline, server) = (baseline?, server?);
    let picture = std::fs::read("bins/derm-server/src/page/example.jpg")
        .context("run it in the repository")?;
    let kinds: [(&str, usize, Request<'_>); 3] = [
        ("predict", 1, &|server| server.predict("gradcam=false", "image/jpeg", &picture).map(drop)),
        ("predict, Grad-CAM", 1, &|server| {
            server.predict("gradcam=true", "image/jpeg", &picture).map(drop)
        }),
        ("GET /health/", 20, &|server| server.get("/health/").map(drop)),
    ];
    println!(
        "| request | ms of a core, baseline | now | ratio (quartiles) |\n|---|---:|---:|---:|"
    );
    let mut grown = Vec::new();
    for (name, times, send) in kinds {
        let count = arguments.requests * times;
        let batch = |server: &Server| -> anyhow::Result<f64> {
            let before = process::seconds(server.id())?;
            (0..count).try_for_each(|_| send(server))?;
            Ok((process::seconds(server.id())? - before) * 1e3 / count as f64)
        };
        // The first batches load the model and fill caches.
        batch(&baseline)?;
        batch(&server)?;
        let (mut before, mut now, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..arguments.rounds {
            // Who is first takes turns, too.
            let first = round % 2 == 0;
            let one = batch(if first { &baseline } else { &server })?;
            let other = batch(if first { &server } else { &baseline })?;
            let (of_baseline, of_server) = if first { (one, other) } else { (other, one) };
            before.push(of_baseline);
            now.push(of_server);
            ratios.push(of_server / of_baseline);
        }
        let [low, ratio, high] = [0.25, 0.5, 0.75].map(|share| quantile(&mut ratios, share));
        let [before, now] = [&mut before, &mut now].map(|times| quantile(times, 0.5));
        println!("| {name} | {before:.3} | {now:.3} | {ratio:.3} ({low:.3}-{high:.3}) |");
        if ratio > MOST {
            grown.push(name);
        }
    }
    ensure!(grown.is_empty(), "more than {MOST} times the baseline: {grown:?}");
    Ok(())
}
