//! Load test under memory and CPU limits that the kernel enforces.

use super::environment;
use super::pictures::{Picture, mixed};
use crate::cgroup::{Cgroup, Limits};
use crate::server::Server;
use anyhow::{Context, ensure};
use derm::memory::MIB;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Largest accepted share of requests that are refused (503).
const REFUSALS: f64 = 0.05;

/// The load and the limits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) limit_mb: Option<u64>,
    pub(crate) cpu: Option<f64>,
    pub(crate) clients: usize,
    pub(crate) requests: usize,
}

/// Sends the requests; returns whether every response was correct (or a rare 503) and no process was
/// killed.
pub(crate) fn run(binary: &Path, model: Option<&Path>, crowd: Crowd) -> anyhow::Result<bool> {
    let pictures = mixed()?;
    let expected = expected(binary, model, &pictures)?;
    let limits = Limits { memory: crowd.limit_mb.map(|mib| mib << 20), cpu: crowd.cpu };
    let group = match Cgroup::new(limits) {
        Ok(group) => group,
        Err(error) => {
            println!("SKIPPED the limits: no control group can be made here ({error:#})");
            return Ok(true);
        }
    };
    let server = Server::start_in(binary, &environment(model), Some(&group))?;
    let next = AtomicUsize::new(0);
    let outcome = Mutex::new(Outcome::default());
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..crowd.clients {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= crowd.requests {
                        return;
                    }
                    // The large picture is sent less often than the others.
                    let which = if number % 16 == 15 { 4 } else { number % 4 };
                    let begun = Instant::now();
                    let answer = ask(&server, &pictures[which], &expected[which]);
                    let mut outcome =
                        outcome.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    outcome.count(answer, begun.elapsed(), pictures[which].name);
                }
            });
        }
    });
    let took = start.elapsed().as_secs_f64();
    let mut outcome = outcome.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    outcome.times.sort();
    let alive = server.get("/health/").is_ok_and(|answer| answer.status == 200);
    let counted = group.counted()?;
    let at = |share: f64| {
        let index = ((outcome.times.len() as f64 - 1.0).max(0.0) * share) as usize;
        outcome.times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    println!(
        "{} requests of {} clients in {took:.0} s: {} right, {} refused (503), {} wrong; \
         p50 {:.0} ms, p99 {:.0} ms",
        crowd.requests,
        crowd.clients,
        outcome.right,
        outcome.refused,
        outcome.wrong.len(),
        at(0.5),
        at(0.99)
    );
    if let Some(mib) = crowd.limit_mb {
        println!(
            "limit {mib} MiB: {:.1} MiB at most in the group, {:.1} MiB resident, {} killed",
            counted.peak as f64 / MIB,
            server.peak().unwrap_or(0.0),
            counted.kills
        );
    }
    for wrong in outcome.wrong.iter().take(5) {
        println!("WRONG   {wrong}");
    }
    let rare = outcome.refused as f64 <= REFUSALS * crowd.requests as f64;
    Ok(alive && counted.kills == 0 && outcome.wrong.is_empty() && rare)
}

#[derive(Default)]
struct Outcome {
    right: usize,
    refused: usize,
    wrong: Vec<String>,
    times: Vec<Duration>,
}

impl Outcome {
    fn count(&mut self, answer: anyhow::Result<bool>, time: Duration, name: &str) {
        match answer {
            Ok(true) => {
                self.right += 1;
                self.times.push(time);
            }
            Ok(false) => self.refused += 1,
            Err(error) => self.wrong.push(format!("{name}: {error:#}")),
        }
    }
}

pub(super) type Scores = Vec<(String, f64)>;

/// The responses of the same server without limits.
fn expected(
    binary: &Path,
    model: Option<&Path>,
    pictures: &[Picture],
) -> anyhow::Result<Vec<Scores>> {
    let server = Server::start(binary, &environment(model))?;
    pictures
        .iter()
        .map(|picture| {
            let body = server.predict("gradcam=true", picture.kind, &picture.bytes);
            scores(&body.context(picture.name)?)
        })
        .collect()
}

/// Whether the request was served; `false` for a 503.
///
/// # Errors
/// If the response is wrong.
fn ask(server: &Server, picture: &Picture, expected: &Scores) -> anyhow::Result<bool> {
    let answer = server.post("/predict/?gradcam=true", picture.kind, &picture.bytes)?;
    if answer.status == 503 {
        return Ok(false);
    }
    ensure!(answer.status == 200, "{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
    let found = scores(&answer.body)?;
    let same = found.iter().zip(expected).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 0.01);
    ensure!(same && found.len() == expected.len(), "{found:?} instead of {expected:?}");
    Ok(true)
}

/// Classes and their probabilities in percent, of an answer that has a heatmap.
pub(super) fn scores(body: &[u8]) -> anyhow::Result<Scores> {
    let json: serde_json::Value = serde_json::from_slice(body)?;
    ensure!(json["heatmap"].is_string(), "no heatmap: {}", json["heatmap_error"]);
    let results = json["results"].as_array().context("no results")?;
    results
        .iter()
        .map(|result| {
            let class = result["class"].as_str().context("no class")?;
            Ok((class.to_owned(), result["probability"].as_f64().context("no probability")?))
        })
        .collect()
}
