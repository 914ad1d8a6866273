//! `cargo xtask hostile`: what slow connections cost a client that is not slow.

use crate::server::{self, Server};
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
const GET: &str = "GET /example.jpg HTTP/1.1\r\nHost: x\r\n";

/// Open slow connections of five kinds, and fail if a good client notices
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Slow connections; one that the server closes is opened again
    #[arg(long, default_value_t = 5000)]
    connections: usize,
    /// Requests of the good client, without slow connections and beside them
    #[arg(long, default_value_t = 500)]
    requests: usize,
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
    let alone = p99(&server, &picture, arguments.requests)?;
    let ends = AtomicBool::new(false);
    let beside = std::thread::scope(|scope| {
        let hostile = scope.spawn(|| hold(server.port(), slow, &ends));
        std::thread::sleep(Duration::from_secs(5));
        let beside = p99(&server, &picture, arguments.requests);
        ends.store(true, Relaxed);
        let opened = hostile.join().unwrap_or_default();
        println!("{slow} slow connections, opened {opened} times");
        beside
    })?;
    let peak = server.peak()?;
    println!("p99 of a good client: {alone:.1} ms without them, {beside:.1} ms beside them");
    println!("peak memory: {peak:.1} MiB of a budget of {} MiB", arguments.budget_mb);
    let start = Instant::now();
    while server.memory()?["connections"] != 1 {
        ensure!(start.elapsed() < Duration::from_secs(60), "connections stay open");
        std::thread::sleep(Duration::from_millis(100));
    }
    ensure!(beside <= MOST * alone, "more than {MOST} times as long");
    ensure!(peak <= arguments.budget_mb as f64, "over the budget");
    Ok(())
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
    times.sort_by(f64::total_cmp);
    Ok(times[(requests * 99 / 100).min(requests - 1)])
}

/// Holds so many slow connections until it is told to end; returns how many it opened.
fn hold(port: u16, count: usize, ends: &AtomicBool) -> usize {
    let mut streams: Vec<Option<TcpStream>> = (0..count).map(|_| None).collect();
    let mut opened = 0;
    while !ends.load(Relaxed) {
        for (kind, slot) in streams.iter_mut().enumerate() {
            if ends.load(Relaxed) {
                break;
            }
            if slot.as_mut().is_none_or(|stream| !trickle(kind, stream)) {
                *slot = open(kind, port).ok();
                opened += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    opened
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
