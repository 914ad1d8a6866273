//! The deadline of a request, and the clock that it is compared with.

use crate::{Error, Task};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

/// Tells the time; tests have one of their own.
pub(crate) type Clock = fn() -> Instant;

/// When a request's time is over: at an instant, or when all work is cancelled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline<'a> {
    pub(crate) at: Instant,
    pub(crate) clock: Clock,
    pub(crate) cancelled: &'a AtomicBool,
}

impl Deadline<'_> {
    pub(crate) fn has_passed(&self) -> bool {
        self.is_cancelled() || (self.clock)() >= self.at
    }

    /// # Errors
    /// [`Error::TimedOut`], [`Error::Cancelled`]: it passed before the work began.
    pub(crate) fn check_begun(&self) -> Result<(), Error> {
        if self.has_passed() { Err(self.error(Error::TimedOut)) } else { Ok(()) }
    }

    /// # Errors
    /// [`Error::TimeLimit`], [`Error::Cancelled`]: it passed during this task.
    pub(crate) fn check(&self, task: Task) -> Result<(), Error> {
        if self.has_passed() { Err(self.passed_during(task)) } else { Ok(()) }
    }

    /// The error of a task that it ended.
    pub(crate) fn passed_during(&self, task: Task) -> Error {
        self.error(Error::TimeLimit(task))
    }

    fn error(&self, late: Error) -> Error {
        if self.is_cancelled() { Error::Cancelled } else { late }
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }
}
