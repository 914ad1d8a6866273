//! Lazy value: made on first use, shared, dropped on request and made again.

mod lease;
mod state;

pub(crate) use lease::Lease;
use lease::Unfinished;
pub(crate) use state::AcquireError;
use state::{Slot, State};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Makes a `T` on first use and hands out [`Lease`]s of it.
///
/// At most one `T` exists at a time: it is dropped after its last use, before the next is made. No
/// caller's code runs while the state is locked, so that a question about the state never waits.
pub(crate) struct Lazy<T, E> {
    make: Box<dyn Fn() -> Result<T, E> + Send + Sync>,
    uses: Box<dyn Fn() -> Option<u64> + Send + Sync>,
    can_remake: Box<dyn Fn() -> bool + Send + Sync>,
    state: Mutex<State<T, E>>,
    changed: Condvar,
}

impl<T, E> Lazy<T, E> {
    /// `make` makes the value; `uses` returns the number of uses after which it is made again
    /// (`None`: never) and is called once for each value. A value that `can_remake` says cannot be
    /// made again is kept.
    pub(crate) fn new(
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
        uses: impl Fn() -> Option<u64> + Send + Sync + 'static,
        can_remake: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Lazy<T, E> {
        let state = State {
            slot: Slot::Empty,
            active: 0,
            waiting: 0,
            uses_left: None,
            attempts: 0,
            made: 0,
            making: Duration::ZERO,
            failure: None,
            last_use: Instant::now(),
        };
        Lazy {
            make: Box::new(make),
            uses: Box::new(uses),
            can_remake: Box::new(can_remake),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// The value, made if need be; waits at most until `deadline` for others to make it.
    ///
    /// # Errors
    /// Every [`AcquireError`].
    ///
    /// # Panics
    /// If `make` does; those who wait get [`AcquireError::Panicked`], and the next caller tries again.
    pub(crate) fn acquire(&self, deadline: Instant) -> Result<Lease<'_, T, E>, AcquireError<E>> {
        let mut state = self.lock();
        loop {
            match &state.slot {
                Slot::Ready(value) => {
                    let value = Arc::clone(value);
                    state.active += 1;
                    state.uses_left = state.uses_left.map(|left| left.saturating_sub(1));
                    let is_last = state.uses_left == Some(0);
                    if is_last {
                        state.slot = Slot::Leaving(Arc::clone(&value));
                    }
                    drop(state);
                    let lease = Lease { owner: self, value: Some(value), is_use: true };
                    if is_last && !(self.can_remake)() {
                        self.keep(&lease);
                    }
                    return Ok(lease);
                }
                Slot::Empty => {
                    state.slot = Slot::Making;
                    state.attempts += 1;
                    drop(state);
                    self.make_now()?;
                    state = self.lock();
                }
                Slot::Making => {
                    let attempt = state.attempts;
                    state = self.wait(state, deadline)?;
                    if let Some((failed, error)) = &state.failure
                        && *failed == attempt
                    {
                        return Err(error.clone());
                    }
                }
                Slot::Leaving(_) | Slot::Dropping => state = self.wait(state, deadline)?,
            }
        }
    }

    /// Keeps the value of this lease, which was about to leave.
    fn keep(&self, lease: &Lease<'_, T, E>) {
        let uses = (self.uses)();
        let mut state = self.lock();
        if let Slot::Leaving(value) = &state.slot
            && lease.value.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, value))
        {
            state.slot = Slot::Ready(Arc::clone(value));
            state.uses_left = uses.map(|uses| uses.max(1));
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Drops the value: now, or when its last lease ends; returns whether it does, or there is none.
    pub(crate) fn unload(&self) -> bool {
        if !self.is_loaded() {
            return true;
        }
        if !(self.can_remake)() {
            return false;
        }
        let mut state = self.lock();
        if let Slot::Ready(value) = &state.slot {
            state.slot = Slot::Leaving(Arc::clone(value));
        }
        self.drop_if_left(state);
        true
    }

    /// Drops the value if nobody has used it for `idle`; returns whether it did.
    pub(crate) fn unload_if_idle(&self, idle: Duration) -> bool {
        if !self.is_idle(idle) || !(self.can_remake)() {
            return false;
        }
        let mut state = self.lock();
        let Slot::Ready(value) = &state.slot else { return false };
        if state.active > 0 || state.last_use.elapsed() < idle {
            return false;
        }
        // Under the same lock: who asks in between finds it leaving, and waits for the next one.
        state.slot = Slot::Leaving(Arc::clone(value));
        self.drop_if_left(state);
        true
    }

    fn is_idle(&self, idle: Duration) -> bool {
        let state = self.lock();
        matches!(state.slot, Slot::Ready(_))
            && state.active == 0
            && state.last_use.elapsed() >= idle
    }

    /// Whether the value exists now.
    pub(crate) fn is_loaded(&self) -> bool {
        matches!(self.lock().slot, Slot::Ready(_) | Slot::Leaving(_))
    }

    /// Looks at the value, if it exists, without counting as a use. The state is not locked meanwhile:
    /// looking may wait for whatever it likes, nobody else does.
    pub(crate) fn peek<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        let mut state = self.lock();
        let (Slot::Ready(value) | Slot::Leaving(value)) = &state.slot else { return None };
        let value = Some(Arc::clone(value));
        state.active += 1;
        drop(state);
        let lease = Lease { owner: self, value, is_use: false };
        Some(look(&lease))
    }

    /// How often a value was made.
    pub(crate) fn times_made(&self) -> u64 {
        self.lock().made
    }

    /// How long making these took in all.
    pub(crate) fn time_making(&self) -> Duration {
        self.lock().making
    }

    /// Drops a value that is leaving and has no users. That takes a while, so it is not done under
    /// the lock; the slot is empty only when the value is gone, since others then make the next.
    fn drop_if_left(&self, mut state: MutexGuard<'_, State<T, E>>) {
        if state.active > 0 || !matches!(state.slot, Slot::Leaving(_)) {
            return;
        }
        let Slot::Leaving(value) = std::mem::replace(&mut state.slot, Slot::Dropping) else {
            return;
        };
        drop(state);
        drop(value);
        self.lock().slot = Slot::Empty;
        self.changed.notify_all();
    }

    /// Called by the one thread that set the slot to `Making`.
    fn make_now(&self) -> Result<(), AcquireError<E>> {
        let unfinished = Unfinished(self);
        let start = Instant::now();
        let made = (self.make)();
        let took = start.elapsed();
        let uses = (self.uses)();
        std::mem::forget(unfinished);
        let made = made.map(Arc::new).map_err(|error| AcquireError::Failed(Arc::new(error)));
        self.settle(made, uses, took)
    }

    /// Ends an attempt and wakes those who wait for it.
    fn settle(
        &self,
        made: Result<Arc<T>, AcquireError<E>>,
        uses: Option<u64>,
        took: Duration,
    ) -> Result<(), AcquireError<E>> {
        let mut state = self.lock();
        let result = match made {
            Ok(value) => {
                state.slot = Slot::Ready(value);
                state.uses_left = uses.map(|uses| uses.max(1));
                state.made += 1;
                state.making += took;
                state.failure = None;
                Ok(())
            }
            Err(error) => {
                state.slot = Slot::Empty;
                state.failure = Some((state.attempts, error.clone()));
                Err(error)
            }
        };
        state.last_use = Instant::now();
        drop(state);
        self.changed.notify_all();
        result
    }

    fn wait<'a>(
        &self,
        mut state: MutexGuard<'a, State<T, E>>,
        deadline: Instant,
    ) -> Result<MutexGuard<'a, State<T, E>>, AcquireError<E>> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(AcquireError::TimedOut);
        }
        state.waiting += 1;
        let waited = self.changed.wait_timeout(state, left);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.waiting -= 1;
        Ok(state)
    }

    /// No caller's code runs under the lock, so the state is valid even if the lock is poisoned.
    fn lock(&self) -> MutexGuard<'_, State<T, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, E> std::fmt::Debug for Lazy<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (loaded, waiting) = (self.is_loaded(), self.lock().waiting);
        f.debug_struct("Lazy")
            .field("loaded", &loaded)
            .field("waiting", &waiting)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
