//! Memory and time that work takes: bytes that its thread allocates, and processor time, which does not depend on
//! what else the machine does.

use std::time::Duration;

#[path = "../../crates/derm-preprocess/tests/common/counting.rs"]
mod counting;

use counting::HELD;

/// What work took.
#[derive(Debug, Clone, Copy)]
pub struct Use {
    /// The most bytes that it held, beside those held before.
    pub memory: u64,
    /// Processor time.
    pub time: Duration,
}

/// Does work on this thread. Fails where it takes more than a second.
///
/// # Panics
/// After a second of processor time.
pub fn metered<T>(work: impl FnOnce() -> T) -> (T, Use) {
    let before = HELD.with(|held| {
        let (now, _) = held.get();
        held.set((now, now));
        now
    });
    let start = processor_time();
    let result = work();
    let time = processor_time() - start;
    let memory = HELD.with(|held| held.get().1 - before) as u64;
    assert!(time < Duration::from_secs(1), "it took {time:?}");
    (result, Use { memory, time })
}

fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
