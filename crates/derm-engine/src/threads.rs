//! Intra-operator threads: the helpers of one inference.
//!
//! A step of a small network takes some ten microseconds, as long as it takes to wake a thread. So
//! helpers spin for a moment before they sleep, and sleep between inferences.

use std::any::Any;
use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread::JoinHandle;

/// How often a helper polls for a job before it sleeps: some tens of microseconds.
const POLLS: usize = 2_000;

/// The caller's thread, or that and helpers which several engines may share.
#[derive(Debug, Clone)]
pub struct ThreadPool(Option<Arc<Pool>>);

impl ThreadPool {
    /// No thread but the caller's.
    pub const SINGLE: ThreadPool = ThreadPool(None);

    /// The caller's thread and `count - 1` helpers; none where threads cannot be made.
    pub fn new(count: usize) -> ThreadPool {
        if count <= 1 {
            return ThreadPool::SINGLE;
        }
        ThreadPool(Pool::new(count - 1).ok().map(Arc::new))
    }

    /// How many threads there are, the caller's among them.
    pub(crate) fn count(&self) -> usize {
        self.0.as_ref().map_or(1, |pool| pool.helpers.len() + 1)
    }

    /// An inference begins, and lasts as long as what is returned.
    pub(crate) fn begin(&self) -> Team<'_> {
        if let Some(pool) = &self.0 {
            pool.inferences.fetch_add(1, Ordering::Relaxed);
        }
        Team { pool: self.0.as_deref() }
    }
}

/// The threads of one inference: all there are while it is the only one, else its own. So as many
/// inferences as there are cores leave each other alone.
#[derive(Debug)]
pub(crate) struct Team<'a> {
    pool: Option<&'a Pool>,
}

impl Team<'_> {
    /// Cuts `0..units` into one part for each thread; each gets a piece of `extra` of its own.
    pub(crate) fn share(
        &self,
        units: usize,
        extra: &mut [f32],
        work: impl Fn(Range<usize>, &mut [f32]) + Sync,
    ) {
        let helpers = self.pool.map_or(0, |pool| pool.helpers.len());
        let each = extra.len() / (helpers + 1);
        let pieces: Vec<Mutex<&mut [f32]>> = match each {
            0 => (0..=helpers).map(|_| Mutex::default()).collect(),
            _ => extra.chunks_mut(each).map(Mutex::new).collect(),
        };
        self.on_all(|number, count| {
            let part = units * number / count..units * (number + 1) / count;
            let mut piece = pieces[number].lock().expect("a thread's own piece");
            work(part, &mut piece);
        });
    }

    /// Cuts rows of `width` values into one part for each thread, and calls `work` with the number of a
    /// part's first row and the part.
    pub(crate) fn share_rows(
        &self,
        width: usize,
        values: &mut [f32],
        work: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        let threads = self.pool.map_or(0, |pool| pool.helpers.len()) + 1;
        let rows = values.len() / width.max(1);
        if threads == 1 || rows <= 1 {
            return work(0, values);
        }
        let each = rows.div_ceil(threads);
        let parts: Vec<Mutex<&mut [f32]>> =
            values.chunks_mut(each * width).map(Mutex::new).collect();
        self.on_all(|number, count| {
            for number in (number..parts.len()).step_by(count) {
                work(number * each, &mut parts[number].lock().expect("a thread's own part"));
            }
        });
    }

    /// Calls `work` with its number and how many there are, on each thread.
    fn on_all(&self, work: impl Fn(usize, usize) + Sync) {
        let alone = |pool: &&Pool| pool.inferences.load(Ordering::Relaxed) == 1;
        if let Some(pool) = self.pool.filter(alone) {
            let count = pool.helpers.len() + 1;
            if pool.run(&|number| work(number, count)) {
                return;
            }
        }
        work(0, 1);
    }
}

impl Drop for Team<'_> {
    fn drop(&mut self) {
        if let Some(pool) = self.pool {
            pool.inferences.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Helpers that do one job at a time, all of them together.
#[derive(Debug)]
struct Pool {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    /// Inferences that are running.
    inferences: AtomicUsize,
    /// Held while there is a job.
    turn: Mutex<()>,
}

type Job = dyn Fn(usize) + Sync;

#[derive(Debug)]
struct Shared {
    /// Counts jobs; a helper that sees it change has one.
    round: AtomicUsize,
    /// Valid from the change of `round` until `left` is 0.
    job: UnsafeCell<Option<*const Job>>,
    /// Helpers that have not done it yet.
    left: AtomicUsize,
    /// What a helper panicked with, of the job that is running.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    stops: AtomicBool,
}

// SAFETY: `job` is written by the holder of `turn` only, while no helper has a job, and read after
// `round` changed; the job itself is Sync.
unsafe impl Sync for Shared {}
// SAFETY: as above; nothing belongs to one thread.
unsafe impl Send for Shared {}

impl Pool {
    fn new(helpers: usize) -> std::io::Result<Pool> {
        let shared = Arc::new(Shared {
            round: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            left: AtomicUsize::new(0),
            panic: Mutex::new(None),
            stops: AtomicBool::new(false),
        });
        let (inferences, turn) = (AtomicUsize::new(0), Mutex::new(()));
        let mut pool = Pool { shared, helpers: Vec::new(), inferences, turn };
        for number in 1..=helpers {
            let shared = Arc::clone(&pool.shared);
            let helper = std::thread::Builder::new().name(format!("inference-{number}"));
            pool.helpers.push(helper.spawn(move || shared.help(number))?);
        }
        Ok(pool)
    }

    /// Calls `job` on the caller's thread (number 0) and on every helper, and says so; or does not,
    /// where they have another one.
    ///
    /// # Panics
    /// If the job does: with what the caller's part panics with, or else a helper's.
    fn run(&self, job: &(dyn Fn(usize) + Sync)) -> bool {
        let _turn = match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        // SAFETY: only the lifetime changes; `Done` is dropped before the job is, and waits until no
        // helper has it any more.
        let for_all = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &Job>(job) };
        // SAFETY: we hold the turn, and no helper has a job.
        unsafe { *self.shared.job.get() = Some(for_all) };
        // If the caller panicked in an earlier job, nobody has taken what its helpers panicked with.
        self.shared.take_panic();
        self.shared.left.store(self.helpers.len(), Ordering::Relaxed);
        self.shared.round.fetch_add(1, Ordering::Release);
        self.wake();
        let done = Done(&self.shared);
        job(0);
        drop(done);
        if let Some(panic) = self.shared.take_panic() {
            resume_unwind(panic);
        }
        true
    }

    fn wake(&self) {
        self.helpers.iter().for_each(|helper| helper.thread().unpark());
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stops.store(true, Ordering::Relaxed);
        self.shared.round.fetch_add(1, Ordering::Release);
        self.wake();
        for helper in self.helpers.drain(..) {
            let _ = helper.join();
        }
    }
}

/// Waits for the helpers when it is dropped, even by a panic.
struct Done<'a>(&'a Shared);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        let mut polls = 0;
        while self.0.left.load(Ordering::Acquire) > 0 {
            polls += 1;
            if polls % POLLS == 0 {
                // The helper may be waiting for this very core.
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
    }
}

impl Shared {
    /// What a helper panicked with, once.
    fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A helper's life.
    fn help(&self, number: usize) {
        let mut round = 0;
        loop {
            let mut polls = 0;
            while self.round.load(Ordering::Acquire) == round {
                polls += 1;
                if polls < POLLS { std::hint::spin_loop() } else { std::thread::park() }
            }
            round = round.wrapping_add(1);
            if self.stops.load(Ordering::Relaxed) {
                return;
            }
            // SAFETY: the round has changed, and `left` counts this helper.
            let job = unsafe { (*self.job.get()).map(|job| &*job) };
            if let Some(job) = job
                && let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(number)))
            {
                *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            }
            self.left.fetch_sub(1, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_done_once_however_often() {
        let threads = ThreadPool::new(3);
        let team = threads.begin();
        let counts: Vec<AtomicUsize> = (0..17).map(|_| AtomicUsize::new(0)).collect();
        for _ in 0..500 {
            team.share(counts.len(), &mut [0.0; 12], |part, scratch| {
                assert_eq!(scratch.len(), 4);
                part.for_each(|unit| _ = counts[unit].fetch_add(1, Ordering::Relaxed));
            });
        }
        assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 500));
    }

    #[test]
    fn every_row_is_done_once_with_its_number() {
        for threads in 1..=4 {
            let threads = ThreadPool::new(threads);
            for rows in 0..=9 {
                let mut values = vec![0.0; 3 * rows];
                threads.begin().share_rows(3, &mut values, |first, part| {
                    for (row, values) in part.chunks_exact_mut(3).enumerate() {
                        values.iter_mut().for_each(|value| *value += (first + row + 1) as f32);
                    }
                });
                let expected: Vec<f32> = (0..3 * rows).map(|i| (i / 3 + 1) as f32).collect();
                assert_eq!(values, expected);
            }
        }
    }

    #[test]
    fn a_second_inference_keeps_to_its_own_thread() {
        let threads = ThreadPool::new(2);
        let (first, second) = (threads.begin(), threads.begin());
        let threads = Mutex::new(Vec::new());
        let note = |_, _: &mut [f32]| threads.lock().unwrap().push(std::thread::current().id());
        first.share(8, &mut [], note);
        assert_eq!(*threads.lock().unwrap(), [std::thread::current().id()]);
        drop(second);
        first.share(8, &mut [], note);
        assert_eq!(threads.lock().unwrap().len(), 3);
    }

    #[test]
    fn a_panic_of_a_helper_is_the_callers_and_the_next_job_runs() {
        let threads = ThreadPool::new(2);
        let team = threads.begin();
        let fail = || team.share(2, &mut [], |part, _| assert_eq!(part.start, 0, "the helper"));
        let panic = catch_unwind(AssertUnwindSafe(fail)).unwrap_err();
        assert!(
            panic.downcast_ref::<String>().is_some_and(|message| message.contains("the helper"))
        );
        let done = AtomicUsize::new(0);
        team.share(2, &mut [], |part, _| _ = done.fetch_add(part.len(), Ordering::Relaxed));
        assert_eq!(done.into_inner(), 2);
    }

    #[test]
    fn a_panic_of_caller_and_helper_does_not_fail_the_next_job() {
        let threads = ThreadPool::new(2);
        let team = threads.begin();
        let fail = || team.share(2, &mut [], |_, _| panic!("both"));
        assert!(catch_unwind(AssertUnwindSafe(fail)).is_err());
        let done = AtomicUsize::new(0);
        team.share(2, &mut [], |part, _| _ = done.fetch_add(part.len(), Ordering::Relaxed));
        assert_eq!(done.into_inner(), 2);
    }
}
