//! Leases of a lazy value, and the attempts to make it.

use super::{AcquireError, Lazy};
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Ends an attempt whose `make` panics: else all others would wait for it until their deadlines.
pub(super) struct Unfinished<'a, T, E>(pub(super) &'a Lazy<T, E>);

impl<T, E> Drop for Unfinished<'_, T, E> {
    fn drop(&mut self) {
        let _ = self.0.settle(Err(AcquireError::Panicked), None, Duration::ZERO);
    }
}

/// The right to use the value for a while.
#[derive(Debug)]
pub(crate) struct Lease<'a, T, E> {
    pub(super) owner: &'a Lazy<T, E>,
    /// `None` only inside `drop`.
    pub(super) value: Option<Arc<T>>,
    /// Whether it counts as a use.
    pub(super) is_use: bool,
}

impl<T, E> Deref for Lease<'_, T, E> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("there until drop")
    }
}

impl<T, E> Drop for Lease<'_, T, E> {
    fn drop(&mut self) {
        self.value = None;
        let mut state = self.owner.lock();
        state.active -= 1;
        if self.is_use {
            state.last_use = Instant::now();
        }
        self.owner.drop_if_left(state);
    }
}
