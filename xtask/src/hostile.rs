//! `cargo xtask hostile`: what slow connections cost a client that is not slow.

use crate::process::{Holdings, thread_seconds};
use crate::server::{self, Server};
use crate::statistics::quantile;
use anyhow::{Context, ensure};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Largest p99 of a good client beside slow ones, relative to that without them.
const MOST: f64 = 3.0;
/// Descriptors that are needed beside those of the slow connections.
const OTHER_DESCRIPTORS: u64 = 200;
/// Each slow connection sends a byte so often, or is opened again where the server has closed it.
/// They do so one after the other, as clients that know nothing of each other.
const PACE: Duration = Duration::from_secs(1);
/// Slow connections that are looked at without a pause in between.
const BATCH: usize = 10;
const GET: &str = "GET /example.jpg HTTP/1.1\r\nHost: x\r\n";

/// Open slow connections of five kinds, and fail if a good client notices
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Slow connections; one that the server closes is opened again within a second
    #[arg(long, default_value_t = 5000)]
    connections: usize,
    /// Requests of the good client in a round, without slow connections and beside them each
    #[arg(long, default_value_t = 300)]
    requests: usize,
    /// Rounds, of which the median counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// MEMORY_BUDGET_MB
    #[arg(long, default_value_t = 96)]
    budget_mb: u64,
    /// This server instead of one that is built in release mode
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let slow = raise_descriptors(arguments.connections)?;
    let binary = arguments.binary.clone().map_or_else(server::build, Ok)?;
    let budget = arguments.budget_mb.to_string();
    let server =
        Server::start(&binary, &[("MEMORY_BUDGET_MB", budget), ("MAX_REQUESTS", "0".to_owned())])?;
    let picture = std::fs::read("bins/derm-server/src/page/example.jpg")
        .context("run it in the repository")?;
    server.predict("gradcam=false", "image/jpeg", &picture)?;
    let before = settled(&server)?;
    let mut ratios = Vec::new();
    for round in 1..=arguments.rounds {
        let alone = p99(&server, &picture, arguments.requests)?;
        let (beside, attack) =
            beside(&server, slow, || p99(&server, &picture, arguments.requests))?;
        println!(
            "round {round}: p99 of a good client {alone:.1} ms, beside {slow} slow connections \
             {beside:.1} ms ({:.2} times); {attack}",
            beside / alone
        );
        ratios.push(beside / alone);
        let after = settled(&server)?;
        ensure!(after == before, "{before} before, {after} after");
    }
    let (median, peak) = (quantile(&mut ratios, 0.5), server.peak()?);
    println!(
        "p99 beside slow connections: {median:.2} times that without them, median of the rounds"
    );
    println!("peak memory: {peak:.1} MiB of a budget of {} MiB", arguments.budget_mb);
    println!("0 failed; before and after: {before}");
    ensure!(median <= MOST, "more than {MOST} times as long");
    ensure!(peak <= arguments.budget_mb as f64, "over the budget");
    Ok(())
}

/// What the server holds when nobody is connected any more.
fn settled(server: &Server) -> anyhow::Result<Holdings> {
    let start = Instant::now();
    // The connection that asks is one.
    while server.memory()?["connections"] != 1 {
        ensure!(start.elapsed() < Duration::from_secs(60), "connections stay open");
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_millis(500));
    Holdings::of(server.id())
}

/// Lets this process and the server have enough descriptors; returns how many connections may be slow.
fn raise_descriptors(wanted: usize) -> anyhow::Result<usize> {
    let mut limit = getrlimit(Resource::Nofile);
    let possible = limit.maximum.unwrap_or(u64::MAX).min(wanted as u64 + OTHER_DESCRIPTORS);
    limit.current = Some(possible.max(limit.current.unwrap_or(possible)));
    setrlimit(Resource::Nofile, limit)?;
    Ok(wanted.min((possible - OTHER_DESCRIPTORS) as usize))
}

/// The 99th percentile of the time of a prediction, milliseconds; each must be answered.
fn p99(server: &Server, picture: &[u8], requests: usize) -> anyhow::Result<f64> {
    let mut times = Vec::with_capacity(requests);
    for _ in 0..requests {
        let start = Instant::now();
        server.predict("gradcam=false", "image/jpeg", picture)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(quantile(&mut times, 0.99))
}

/// What slow connections did.
struct Attack {
    opened: usize,
    /// How long it took, and how long it kept a core, seconds.
    took: f64,
    used: f64,
}

impl std::fmt::Display for Attack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Attack { opened, took, used } = self;
        let (rate, share) = (*opened as f64 / took, used / took * 100.0);
        write!(f, "{rate:.0} opened a second, by {share:.0} % of a core")
    }
}

/// Measures beside so many slow connections.
fn beside(
    server: &Server,
    slow: usize,
    measure: impl FnOnce() -> anyhow::Result<f64>,
) -> anyhow::Result<(f64, Attack)> {
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let attack = scope.spawn(|| hold(server.port(), slow, &ends));
        // By then each was opened and looked at a few times.
        std::thread::sleep(5 * PACE);
        let measured = measure();
        ends.store(true, Relaxed);
        let attack = attack.join().map_err(|_| anyhow::anyhow!("the slow connections failed"))?;
        Ok((measured?, attack?))
    })
}

/// Holds so many slow connections until it is told to end.
fn hold(port: u16, count: usize, ends: &AtomicBool) -> anyhow::Result<Attack> {
    let start = Instant::now();
    let pause = PACE.mul_f64(BATCH as f64 / count as f64);
    let mut streams: Vec<Option<TcpStream>> = (0..count).map(|_| None).collect();
    let mut opened = 0;
    while !ends.load(Relaxed) {
        for batch in 0..count.div_ceil(BATCH) {
            for kind in (batch * BATCH..(batch + 1) * BATCH).take_while(|&kind| kind < count) {
                let slot = &mut streams[kind];
                if slot.as_mut().is_none_or(|stream| !trickle(kind, stream)) {
                    *slot = open(kind, port).ok();
                    opened += 1;
                }
            }
            if ends.load(Relaxed) {
                break;
            }
            std::thread::sleep(pause);
        }
    }
    let took = start.elapsed().as_secs_f64();
    Ok(Attack { opened, took, used: thread_seconds()? })
}

/// A slow head, a slow body, a slow reader, an idle and a half-closed connection in turn.
fn open(kind: usize, port: u16) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nonblocking(true)?;
    let request = match kind % 5 {
        0 | 4 => format!("{GET}X-Slow: "),
        1 => "POST /predict/ HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n\
              Content-Length: 4000000\r\n\r\nx"
            .to_owned(),
        2 => format!("{GET}\r\n").repeat(16),
        _ => String::new(),
    };
    stream.write_all(request.as_bytes())?;
    if kind % 5 == 4 {
        stream.shutdown(Shutdown::Write)?;
    }
    Ok(stream)
}

/// Goes on as slowly as the kind does; whether the connection is still open.
fn trickle(kind: usize, stream: &mut TcpStream) -> bool {
    match kind % 5 {
        0 | 1 => stream.write(b"x").is_ok_and(|sent| sent > 0),
        2 => stream.take_error().is_ok_and(|error| error.is_none()),
        _ => match stream.read(&mut [0; 64]) {
            Ok(read) => read > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        },
    }
}
