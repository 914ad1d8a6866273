//! Tests of the lazy value.

use super::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::thread;

/// Long enough for any machine: no test waits for it unless it fails.
const LONG: Duration = Duration::from_secs(600);

fn later() -> Instant {
    Instant::now() + LONG
}

/// How making ends: with a result, or, where there is none, in a panic.
type Outcome = Option<Result<u8, u8>>;

/// A value that is made when the sender is told how that ends.
fn controlled() -> (Lazy<u8, u8>, Sender<Outcome>) {
    let (sender, receiver) = channel();
    let receiver = Mutex::new(receiver);
    let make = move || {
        let told: Outcome = receiver.lock().unwrap().recv_timeout(LONG).unwrap();
        told.expect("on purpose")
    };
    (Lazy::new(make, || None, || true), sender)
}

fn until<T, E>(lazy: &Lazy<T, E>, holds: impl Fn(&State<T, E>) -> bool) {
    while !holds(&lazy.lock()) {
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_hundred_first_callers_make_it_once() {
    let (lazy, make) = controlled();
    assert!(!lazy.is_loaded());
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| assert_eq!(*lazy.acquire(later()).unwrap(), 5));
        }
        until(&lazy, |state| state.waiting == 99);
        make.send(Some(Ok(5))).unwrap();
    });
    assert_eq!(lazy.times_made(), 1);
}

#[test]
fn a_failure_is_told_to_all_who_wait_and_tried_again_by_the_next() {
    let (lazy, make) = controlled();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                assert!(matches!(lazy.acquire(later()), Err(AcquireError::Failed(_))));
            });
        }
        until(&lazy, |state| state.waiting == 7);
        make.send(Some(Err(1))).unwrap();
    });
    assert_eq!(lazy.lock().attempts, 1);
    make.send(Some(Ok(2))).unwrap();
    assert!(lazy.acquire(later()).is_ok());
}

#[test]
fn a_panic_goes_to_its_caller_and_is_told_to_those_who_wait() {
    let (lazy, make) = controlled();
    thread::scope(|scope| {
        scope.spawn(|| {
            let caught = catch_unwind(AssertUnwindSafe(|| lazy.acquire(later()).map(drop)));
            assert!(caught.is_err());
        });
        until(&lazy, |state| state.attempts == 1);
        scope.spawn(|| {
            assert!(matches!(lazy.acquire(later()), Err(AcquireError::Panicked)));
        });
        until(&lazy, |state| state.waiting == 1);
        make.send(None).unwrap();
    });
    make.send(Some(Ok(2))).unwrap();
    assert!(lazy.acquire(later()).is_ok());
}

#[test]
fn those_who_wait_keep_their_own_time_limit() {
    let (lazy, make) = controlled();
    thread::scope(|scope| {
        scope.spawn(|| lazy.acquire(later()).map(drop));
        until(&lazy, |state| state.attempts == 1);
        let deadline = Instant::now() + Duration::from_millis(10);
        assert!(matches!(lazy.acquire(deadline), Err(AcquireError::TimedOut)));
        make.send(Some(Ok(2))).unwrap();
    });
}

#[test]
fn nobody_waits_for_one_who_looks() {
    let (lazy, make) = controlled();
    make.send(Some(Ok(2))).unwrap();
    drop(lazy.acquire(later()).unwrap());
    thread::scope(|scope| {
        let (looking, is_looking) = channel();
        let (done, is_done) = channel::<()>();
        let lazy = &lazy;
        scope.spawn(move || {
            lazy.peek(|value| {
                looking.send(*value).unwrap();
                let _ = is_done.recv();
            })
        });
        assert_eq!(is_looking.recv().unwrap(), 2);
        // What looking waits for is released only after these questions are answered.
        assert!(lazy.is_loaded());
        assert_eq!(*lazy.acquire(later()).unwrap(), 2);
        lazy.unload();
        assert!(lazy.is_loaded(), "it is there as long as it is looked at");
        drop(done);
    });
    assert!(!lazy.is_loaded());
    assert_eq!(lazy.peek(|value| *value), None);
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
fn it_is_made_again_after_its_uses_and_nobody_is_refused() {
    static ALIVE: AtomicUsize = AtomicUsize::new(0);
    let lazy: Lazy<Counted, ()> = Lazy::new(|| Ok(Counted::new(&ALIVE)), || Some(5), || true);
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let lease = lazy.acquire(later()).unwrap();
                    thread::yield_now();
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
    let lazy: Lazy<Counted, ()> = Lazy::new(|| Ok(Counted::new(&ALIVE)), || None, || true);
    let lease = lazy.acquire(later()).unwrap();
    lazy.unload();
    assert_eq!(ALIVE.load(SeqCst), 1);
    drop(lease);
    assert_eq!(ALIVE.load(SeqCst), 0);
    assert!(!lazy.is_loaded());
    drop(lazy.acquire(later()).unwrap());
    lazy.unload();
    assert_eq!(ALIVE.load(SeqCst), 0);
}

#[test]
fn idle_means_unused_for_that_long() {
    let lazy: Lazy<(), ()> = Lazy::new(|| Ok(()), || None, || true);
    assert!(!lazy.unload_if_idle(Duration::ZERO));
    let lease = lazy.acquire(later()).unwrap();
    assert!(!lazy.unload_if_idle(Duration::ZERO));
    drop(lease);
    assert!(!lazy.unload_if_idle(LONG));
    assert!(lazy.unload_if_idle(Duration::ZERO));
    assert!(!lazy.is_loaded());
}

#[test]
fn what_cannot_be_made_again_is_kept() {
    static LOST: AtomicBool = AtomicBool::new(false);
    let lazy: Lazy<(), ()> = Lazy::new(|| Ok(()), || Some(2), || !LOST.load(SeqCst));
    let uses = |count| (0..count).for_each(|_| drop(lazy.acquire(later()).unwrap()));
    uses(3);
    assert_eq!(lazy.times_made(), 2);
    LOST.store(true, SeqCst);
    uses(9);
    lazy.unload();
    assert!(!lazy.unload_if_idle(Duration::ZERO));
    assert!(lazy.is_loaded());
    assert_eq!(lazy.times_made(), 2);
    LOST.store(false, SeqCst);
    uses(3);
    assert_eq!(lazy.times_made(), 3);
    lazy.unload();
    assert!(!lazy.is_loaded());
}
