//! Work without the GIL.

use crate::error::panicked;
use pyo3::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How often a running list of pictures looks for Ctrl-C.
const SIGNALS: Duration = Duration::from_millis(50);

/// The deadline of work that has none.
pub(crate) fn no_deadline() -> Instant {
    Instant::now() + Duration::from_secs(100 * 365 * 24 * 3600)
}

/// Panics are exceptions here, which have their messages: nothing is printed. The hook is that of this
/// library's own copy of Rust's runtime.
pub(crate) fn silence_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}

/// Runs work while other Python threads go on.
///
/// # Errors
/// The work's own; `RuntimeError` where it panicked.
pub(crate) fn without_gil<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> PyResult<T> + Send,
) -> PyResult<T> {
    py.detach(|| guarded(work))
}

/// Does `work` for each number below `count`, on so many threads; the results are in order. Ctrl-C, and the
/// first error, end it after the pieces that have begun.
///
/// # Errors
/// Those of the work, and what a signal's handler raised.
pub(crate) fn all<T: Send>(
    py: Python<'_>,
    count: usize,
    workers: usize,
    work: impl Fn(usize) -> PyResult<T> + Sync,
) -> PyResult<Vec<T>> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let mut results: Vec<Option<T>> = (0..count).map(|_| None).collect();
    std::thread::scope(|scope| {
        let (done, received) = channel();
        for _ in 0..workers.min(count) {
            let (done, work, next, stop) = (done.clone(), &work, &next, &stop);
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= count || done.send((number, guarded(|| work(number)))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(done);
        let mut failure = None;
        let received = std::sync::Mutex::new(received);
        loop {
            let wait = || received.lock().ok().map(|received| received.recv_timeout(SIGNALS));
            match py.detach(wait) {
                Some(Ok((number, Ok(result)))) => results[number] = Some(result),
                Some(Ok((number, Err(error)))) => keep_first(&mut failure, number, error),
                Some(Err(RecvTimeoutError::Timeout)) => {}
                Some(Err(RecvTimeoutError::Disconnected)) | None => break,
            }
            if let Err(raised) = py.check_signals() {
                keep_first(&mut failure, 0, raised);
            }
            stop.fetch_or(failure.is_some(), Relaxed);
        }
        failure.map_or(Ok(()), |(_, error)| Err(error))
    })?;
    Ok(results.into_iter().flatten().collect())
}

/// Of several errors, that of the first picture is told.
fn keep_first(failure: &mut Option<(usize, PyErr)>, number: usize, error: PyErr) {
    if failure.as_ref().is_none_or(|(first, _)| number < *first) {
        *failure = Some((number, error));
    }
}

/// Runs work; a panic in it becomes an error. What it was changing is dropped.
fn guarded<T>(work: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(panicked(&*payload)))
}
