//! State of a lazy value.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why [`Lazy::acquire`](super::Lazy::acquire) failed.
#[derive(Debug)]
pub(crate) enum AcquireError<E> {
    /// Making the value failed; the next caller tries again.
    Failed(Arc<E>),
    /// It panicked in the thread of another caller; the next caller tries again.
    Panicked,
    /// The deadline passed while another caller was making it, or while its last users were
    /// finishing before it is made again.
    TimedOut,
}

impl<E> Clone for AcquireError<E> {
    fn clone(&self) -> Self {
        match self {
            AcquireError::Failed(error) => AcquireError::Failed(Arc::clone(error)),
            AcquireError::Panicked => AcquireError::Panicked,
            AcquireError::TimedOut => AcquireError::TimedOut,
        }
    }
}

pub(super) struct State<T, E> {
    pub(super) slot: Slot<T>,
    /// Leases that are held.
    pub(super) active: u64,
    /// Callers that wait for another one to make or drop the value.
    pub(super) waiting: u64,
    /// Uses left before the value is made again; `None`: no limit.
    pub(super) uses_left: Option<u64>,
    /// How often making was begun.
    pub(super) attempts: u64,
    /// How often it succeeded.
    pub(super) made: u64,
    /// How long that took in all.
    pub(super) making: Duration,
    /// The last failure, and which attempt it was.
    pub(super) failure: Option<(u64, AcquireError<E>)>,
    pub(super) last_use: Instant,
}

pub(super) enum Slot<T> {
    Empty,
    Making,
    Ready(Arc<T>),
    /// To be dropped by its last user; nobody else gets it.
    Leaving(Arc<T>),
    Dropping,
}
