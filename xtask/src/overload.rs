//! `cargo xtask overload`: many times as many requests as the server can answer, whatever it answers.

use crate::server::{self, Server};
use crate::statistics::quantile;
use anyhow::{Context, ensure};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Threads that send requests: as many may be without an answer at once.
const SENDERS: usize = 600;
/// Clients that measure how much the server can answer.
const CLIENTS: usize = 4;
/// Largest time of a refusal, 99 of 100, milliseconds.
const REFUSED_WITHIN: f64 = 100.0;
/// How long after the last answer the server is as it was before.
const RECOVERY: Duration = Duration::from_secs(1);
/// Largest time of a request after that, relative to before.
const RECOVERED: f64 = 2.0;

/// Send ten times as many requests as the server can answer, and fail if it does not refuse the rest at once
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Requests that are sent, relative to those that the server can answer
    #[arg(long, default_value_t = 10.0)]
    factor: f64,
    /// How long
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// TIMEOUT: the deadline of a request, seconds
    #[arg(long, default_value_t = 10)]
    timeout: u64,
    /// MODEL_PATH; the bundled model by default
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// MEMORY_BUDGET_MB
    #[arg(long, default_value_t = 96)]
    budget_mb: u64,
    /// This server instead of one that is built in release mode
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let binary = arguments.binary.clone().map_or_else(server::build, Ok)?;
    let mut variables = vec![
        ("MEMORY_BUDGET_MB", arguments.budget_mb.to_string()),
        ("TIMEOUT", arguments.timeout.to_string()),
        ("MAX_REQUESTS", "0".to_owned()),
    ];
    variables.extend(arguments.model.iter().map(|path| ("MODEL_PATH", path.display().to_string())));
    let server = Server::start(&binary, &variables)?;
    let picture = std::fs::read("bins/derm-server/src/page/example.jpg")
        .context("run it in the repository")?;
    let load = Load { server: &server, picture: &picture };
    load.one()?;
    let before = load.median()?;
    let capacity = load.capacity(Duration::from_secs(5))?;
    let rate = capacity * arguments.factor;
    println!("capacity: {capacity:.0} requests a second; {rate:.0} are sent");
    let mut outcome = load.send(rate, Duration::from_secs(arguments.seconds));
    std::thread::sleep(RECOVERY);
    let after = load.median()?;
    outcome.print(arguments.seconds);
    let peak = server.peak()?;
    println!("peak memory: {peak:.1} MiB of a budget of {} MiB", arguments.budget_mb);
    println!("one request: {before:.1} ms before, {after:.1} ms one second after the last answer");
    let slowest = quantile(outcome.times(200), 1.0);
    ensure!(slowest <= arguments.timeout as f64 * 1e3, "accepted, and answered after its deadline");
    ensure!(outcome.others().is_empty(), "neither answered nor refused: {:?}", outcome.others());
    ensure!(outcome.refused() <= REFUSED_WITHIN, "refused after more than {REFUSED_WITHIN} ms");
    ensure!(peak <= arguments.budget_mb as f64, "over the budget");
    ensure!(after <= RECOVERED * before, "still slow one second after");
    Ok(())
}

struct Load<'a> {
    server: &'a Server,
    picture: &'a [u8],
}

impl Load<'_> {
    fn one(&self) -> anyhow::Result<u16> {
        Ok(self.server.post("/predict/?gradcam=false", "image/jpeg", self.picture)?.status)
    }

    /// The median time of a request, milliseconds, of twenty one after the other.
    fn median(&self) -> anyhow::Result<f64> {
        let mut times = Vec::new();
        for _ in 0..20 {
            let start = Instant::now();
            let status = self.one()?;
            ensure!(status == 200, "{status}");
            times.push(milliseconds(start));
        }
        Ok(quantile(&mut times, 0.5))
    }

    /// Requests a second that are answered where a client sends the next when it has its answer.
    fn capacity(&self, time: Duration) -> anyhow::Result<f64> {
        let (start, answered) = (Instant::now(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    while start.elapsed() < time {
                        answered
                            .fetch_add(usize::from(self.one().is_ok_and(|s| s == 200)), Relaxed);
                    }
                });
            }
        });
        let answered = answered.into_inner();
        ensure!(answered > 0, "nothing was answered");
        Ok(answered as f64 / start.elapsed().as_secs_f64())
    }

    /// Sends so many requests a second, each when its time has come, whatever became of the others.
    fn send(&self, rate: f64, time: Duration) -> Outcome {
        let (next, outcome) = (AtomicUsize::new(0), Mutex::new(Outcome::default()));
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..SENDERS {
                scope.spawn(|| {
                    loop {
                        let due = Duration::from_secs_f64(next.fetch_add(1, Relaxed) as f64 / rate);
                        if due > time || start.elapsed() > time {
                            return;
                        }
                        std::thread::sleep(due.saturating_sub(start.elapsed()));
                        let sent = Instant::now();
                        let late = start.elapsed().saturating_sub(due);
                        let answer = self.one();
                        let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                        outcome.count(answer, milliseconds(sent), late);
                    }
                });
            }
        });
        outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How requests ended.
#[derive(Default)]
struct Outcome {
    /// Milliseconds, by status.
    times: BTreeMap<u16, Vec<f64>>,
    /// Those without an answer, by the reason.
    errors: BTreeMap<String, usize>,
    /// Largest time that a request was sent after its time.
    late: Duration,
}

impl Outcome {
    fn count(&mut self, answer: anyhow::Result<u16>, time: f64, late: Duration) {
        match answer {
            Ok(status) => self.times.entry(status).or_default().push(time),
            Err(error) => *self.errors.entry(format!("{error:#}")).or_default() += 1,
        }
        self.late = self.late.max(late);
    }

    fn times(&mut self, status: u16) -> &mut [f64] {
        self.times.entry(status).or_default()
    }

    /// The time within which 99 of 100 refusals come, milliseconds.
    fn refused(&mut self) -> f64 {
        quantile(self.times(503), 0.99).max(quantile(self.times(429), 0.99))
    }

    /// What is neither an answer nor a refusal.
    fn others(&self) -> Vec<String> {
        let statuses = self.times.iter().filter(|(status, _)| ![200, 429, 503].contains(*status));
        let statuses = statuses.map(|(status, times)| format!("{} of {status}", times.len()));
        let errors = self.errors.iter().map(|(error, count)| format!("{count} of {error}"));
        statuses.chain(errors).collect()
    }

    fn print(&mut self, seconds: u64) {
        for (status, times) in &mut self.times {
            let count = times.len();
            let [p50, p99, most] = [0.5, 0.99, 1.0].map(|share| quantile(times, share));
            println!(
                "{status}: {count} ({:.0} a second), p50 {p50:.1} ms, p99 {p99:.1} ms, at most {most:.0} ms",
                count as f64 / seconds as f64
            );
        }
        println!("sent {:.0} ms after its time at most", self.late.as_secs_f64() * 1e3);
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
