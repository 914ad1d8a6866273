//! Structured logs on stderr, one JSON object per line. Nothing of a picture is ever logged.
//!
//! Logging never waits and never fails: a thread writes the lines, and those that it cannot write
//! (the reader of the pipe is gone or does not read, the disk is full) are dropped and counted.

use anyhow::Context;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Lines, and bytes of them, that may wait to be written.
const MAX_LINES: usize = 512;
const MAX_BYTES: usize = 256 * 1024;
/// How long the end of the process waits for the last lines.
const LAST_LINES: Duration = Duration::from_millis(500);

static LOST: AtomicU64 = AtomicU64::new(0);
static WAITING_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Log lines that were dropped since the start.
pub(crate) fn lost_lines() -> u64 {
    LOST.load(Relaxed)
}

/// Starts logging what `filter` lets through: a level, or `target=level,...`. Panics are logged, too.
/// The lines that wait when the returned value is dropped are still written, if that goes quickly.
pub(crate) fn start(filter: &str) -> anyhow::Result<LastLines> {
    let filter: Targets = filter.parse().with_context(|| format!("RUST_LOG={filter:?}"))?;
    let (sender, receiver) = sync_channel(MAX_LINES);
    let writer = std::thread::Builder::new().name("log".to_owned());
    writer.spawn(move || write_lines(&receiver)).context("starting the thread of the log")?;
    let queue = Queue(sender.clone());
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .log_internal_errors(false)
        .with_writer(move || queue.clone());
    tracing_subscriber::registry().with(filter).with(lines).init();
    // The default one writes to stderr itself, and would wait for its reader.
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "panic")));
    Ok(LastLines(sender))
}

enum Message {
    Line(Vec<u8>),
    /// Says that all lines before it were written.
    Flush(SyncSender<()>),
}

/// Queues a line with each write.
#[derive(Clone)]
struct Queue(SyncSender<Message>);

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let waiting = WAITING_BYTES.fetch_add(line.len(), Relaxed);
        let fits = waiting + line.len() <= MAX_BYTES;
        if !fits || self.0.try_send(Message::Line(line.to_vec())).is_err() {
            WAITING_BYTES.fetch_sub(line.len(), Relaxed);
            LOST.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The life of the thread that writes.
fn write_lines(queue: &Receiver<Message>) {
    for message in queue {
        match message {
            Message::Line(line) => {
                if io::stderr().write_all(&line).is_err() {
                    LOST.fetch_add(1, Relaxed);
                }
                WAITING_BYTES.fetch_sub(line.len(), Relaxed);
            }
            Message::Flush(done) => {
                let _ = done.try_send(());
            }
        }
    }
}

/// Waits for the last lines when dropped.
pub(crate) struct LastLines(SyncSender<Message>);

impl Drop for LastLines {
    fn drop(&mut self) {
        let (done, is_done) = sync_channel(1);
        // Where the queue is full, nobody reads it.
        if self.0.try_send(Message::Flush(done)).is_ok() {
            let _ = is_done.recv_timeout(LAST_LINES);
        }
    }
}
