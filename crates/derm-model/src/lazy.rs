//! A value made on first use, once, and dropped when it is not wanted.

use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Why [`Lazy::acquire`] gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum AcquireError<E> {
    /// Making the value failed; the next caller tries again.
    #[error("{0}")]
    Failed(Arc<E>),
    /// Making it panicked; the next caller tries again.
    #[error("loading panicked")]
    Panicked,
    /// The deadline passed while another caller was making it, or while its last users were
    /// finishing before it is made anew.
    #[error("not loaded in time")]
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

/// Makes a `T` on first use and hands out [`Lease`]s of it.
///
/// At most one `T` exists at a time: after its last use it is dropped before the next is made.
pub struct Lazy<T, E> {
    make: Box<dyn Fn() -> Result<T, E> + Send + Sync>,
    uses: Box<dyn Fn() -> Option<u64> + Send + Sync>,
    state: Mutex<State<T, E>>,
    changed: Condvar,
}

struct State<T, E> {
    slot: Slot<T>,
    /// Leases out.
    active: u64,
    /// Uses left before the value is made anew; `None`: no end.
    uses_left: Option<u64>,
    /// How often making was begun.
    attempts: u64,
    /// How often it succeeded.
    made: u64,
    /// The last failure, and which attempt it was.
    failure: Option<(u64, AcquireError<E>)>,
    last_use: Instant,
}

enum Slot<T> {
    Empty,
    Making,
    Ready(Arc<T>),
    /// To be dropped by its last user.
    Leaving(Arc<T>),
    Dropping,
}

impl<T, E> Lazy<T, E> {
    /// `make` makes the value; `uses` says after how many leases it is made anew (`None`: never)
    /// and is asked once for each value.
    pub fn new(
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
        uses: impl Fn() -> Option<u64> + Send + Sync + 'static,
    ) -> Lazy<T, E> {
        let state = State {
            slot: Slot::Empty,
            active: 0,
            uses_left: None,
            attempts: 0,
            made: 0,
            failure: None,
            last_use: Instant::now(),
        };
        Lazy {
            make: Box::new(make),
            uses: Box::new(uses),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// The value, made if it is not there; waits at most until `deadline` for others to make it.
    ///
    /// # Errors
    /// Every [`AcquireError`].
    pub fn acquire(&self, deadline: Instant) -> Result<Lease<'_, T, E>, AcquireError<E>> {
        let mut state = self.lock();
        loop {
            match &state.slot {
                Slot::Ready(value) => {
                    let value = Arc::clone(value);
                    state.active += 1;
                    state.uses_left = state.uses_left.map(|left| left.saturating_sub(1));
                    if state.uses_left == Some(0) {
                        state.slot = Slot::Leaving(Arc::clone(&value));
                    }
                    return Ok(Lease { owner: self, value: Some(value) });
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

    /// Drops the value: now, or when its last lease ends.
    pub fn unload(&self) {
        let mut state = self.lock();
        if let Slot::Ready(value) = &state.slot {
            state.slot = Slot::Leaving(Arc::clone(value));
        }
        self.drop_if_left(state);
    }

    /// Drops the value if nobody has used it for `idle`; tells whether it did.
    pub fn unload_if_idle(&self, idle: Duration) -> bool {
        let state = self.lock();
        let unused = state.active == 0 && state.last_use.elapsed() >= idle;
        if !unused || !matches!(state.slot, Slot::Ready(_)) {
            return false;
        }
        drop(state);
        self.unload();
        true
    }

    /// Whether the value is there now.
    pub fn is_loaded(&self) -> bool {
        matches!(self.lock().slot, Slot::Ready(_) | Slot::Leaving(_))
    }

    /// Looks at the value, if it is there, without using it. Everybody else waits meanwhile.
    pub fn peek<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        match &self.lock().slot {
            Slot::Ready(value) | Slot::Leaving(value) => Some(look(value)),
            Slot::Empty | Slot::Making | Slot::Dropping => None,
        }
    }

    /// How often a value was made.
    pub fn times_made(&self) -> u64 {
        self.lock().made
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
        let result = match catch_unwind(AssertUnwindSafe(|| (self.make)())) {
            Ok(Ok(value)) => Ok(Arc::new(value)),
            Ok(Err(error)) => Err(AcquireError::Failed(Arc::new(error))),
            Err(_) => Err(AcquireError::Panicked),
        };
        let uses = (self.uses)();
        let mut state = self.lock();
        let result = match result {
            Ok(value) => {
                state.slot = Slot::Ready(value);
                state.uses_left = uses.map(|uses| uses.max(1));
                state.made += 1;
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
        state: MutexGuard<'a, State<T, E>>,
        deadline: Instant,
    ) -> Result<MutexGuard<'a, State<T, E>>, AcquireError<E>> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(AcquireError::TimedOut);
        }
        let waited = self.changed.wait_timeout(state, left);
        Ok(waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// No code of others changes the state under the lock, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, State<T, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, E> std::fmt::Debug for Lazy<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lazy").field("loaded", &self.is_loaded()).finish_non_exhaustive()
    }
}

/// The right to use the value for a while.
#[derive(Debug)]
pub struct Lease<'a, T, E> {
    owner: &'a Lazy<T, E>,
    /// `None` only inside `drop`.
    value: Option<Arc<T>>,
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
        state.last_use = Instant::now();
        self.owner.drop_if_left(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::thread;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn a_hundred_first_callers_make_it_once() {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let lazy: Lazy<usize, ()> = Lazy::new(
            || {
                thread::sleep(Duration::from_millis(50));
                Ok(MADE.fetch_add(1, SeqCst))
            },
            || None,
        );
        assert!(!lazy.is_loaded());
        thread::scope(|scope| {
            for _ in 0..100 {
                scope.spawn(|| assert_eq!(*lazy.acquire(soon()).unwrap(), 0));
            }
        });
        assert_eq!((MADE.load(SeqCst), lazy.times_made()), (1, 1));
    }

    #[test]
    fn a_failure_is_told_to_all_who_wait_and_tried_again_by_the_next() {
        static TRIES: AtomicUsize = AtomicUsize::new(0);
        let lazy: Lazy<(), usize> = Lazy::new(
            || {
                let attempt = TRIES.fetch_add(1, SeqCst);
                thread::sleep(Duration::from_millis(200));
                if attempt == 0 { Err(attempt) } else { Ok(()) }
            },
            || None,
        );
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    assert!(matches!(lazy.acquire(soon()), Err(AcquireError::Failed(_))));
                });
            }
        });
        assert_eq!(TRIES.load(SeqCst), 1);
        assert!(lazy.acquire(soon()).is_ok());
    }

    #[test]
    fn a_panic_is_a_failure_like_any_other() {
        static TRIES: AtomicUsize = AtomicUsize::new(0);
        let lazy: Lazy<(), ()> = Lazy::new(
            || {
                assert_ne!(TRIES.fetch_add(1, SeqCst), 0, "the first time");
                Ok(())
            },
            || None,
        );
        assert!(matches!(lazy.acquire(soon()), Err(AcquireError::Panicked)));
        assert!(lazy.acquire(soon()).is_ok());
    }

    #[test]
    fn those_who_wait_keep_their_own_time_limit() {
        let lazy: Lazy<(), ()> = Lazy::new(
            || {
                thread::sleep(Duration::from_millis(600));
                Ok(())
            },
            || None,
        );
        thread::scope(|scope| {
            scope.spawn(|| lazy.acquire(soon()).map(drop));
            thread::sleep(Duration::from_millis(100));
            let deadline = Instant::now() + Duration::from_millis(50);
            assert!(matches!(lazy.acquire(deadline), Err(AcquireError::TimedOut)));
        });
    }

    /// Counts how many exist.
    struct Counted(&'static AtomicUsize);

    impl Counted {
        fn new(count: &'static AtomicUsize) -> Counted {
            assert_eq!(count.fetch_add(1, SeqCst), 0, "two at a time");
            Counted(count)
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, SeqCst);
        }
    }

    #[test]
    fn it_is_made_anew_after_its_uses_and_nobody_is_refused() {
        static ALIVE: AtomicUsize = AtomicUsize::new(0);
        let lazy: Lazy<Counted, ()> = Lazy::new(|| Ok(Counted::new(&ALIVE)), || Some(5));
        thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let lease = lazy.acquire(soon()).unwrap();
                        thread::sleep(Duration::from_millis(1));
                        assert_eq!(lease.0.load(SeqCst), 1);
                    }
                });
            }
        });
        assert_eq!(lazy.times_made(), 20);
        assert_eq!(ALIVE.load(SeqCst), 0);
    }

    #[test]
    fn unload_waits_for_the_last_user() {
        static ALIVE: AtomicUsize = AtomicUsize::new(0);
        let lazy: Lazy<Counted, ()> = Lazy::new(|| Ok(Counted::new(&ALIVE)), || None);
        let lease = lazy.acquire(soon()).unwrap();
        lazy.unload();
        assert_eq!(ALIVE.load(SeqCst), 1);
        drop(lease);
        assert_eq!(ALIVE.load(SeqCst), 0);
        assert!(!lazy.is_loaded());
        drop(lazy.acquire(soon()).unwrap());
        lazy.unload();
        assert_eq!(ALIVE.load(SeqCst), 0);
    }

    #[test]
    fn idle_means_unused_for_that_long() {
        let lazy: Lazy<(), ()> = Lazy::new(|| Ok(()), || None);
        assert!(!lazy.unload_if_idle(Duration::ZERO));
        let lease = lazy.acquire(soon()).unwrap();
        assert!(!lazy.unload_if_idle(Duration::ZERO));
        drop(lease);
        assert!(!lazy.unload_if_idle(Duration::from_secs(60)));
        assert!(lazy.unload_if_idle(Duration::ZERO));
        assert!(!lazy.is_loaded());
    }
}
