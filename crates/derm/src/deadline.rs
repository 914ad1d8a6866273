//! The deadline of a request, and the clock that it is compared with.

use crate::{Error, Task};
use std::time::Instant;

/// Tells the time; tests have one of their own.
pub(crate) type Clock = fn() -> Instant;

/// When a request's time is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) clock: Clock,
}

impl Deadline {
    pub(crate) fn has_passed(&self) -> bool {
        (self.clock)() >= self.at
    }

    /// # Errors
    /// [`Error::TimeLimit`]: it passed during this task.
    pub(crate) fn check(&self, task: Task) -> Result<(), Error> {
        if self.has_passed() { Err(Error::TimeLimit(task)) } else { Ok(()) }
    }
}
