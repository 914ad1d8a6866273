//! The threads that inferences run on, as many as may run at once.
//!
//! A thread whose inference ends goes on with the next one that has its permit, without a way through
//! the event loop or the scheduler: waking another thread for it left two cores idle for a quarter
//! of the time.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Threads and the queue that they take from; they end when it is dropped.
#[derive(Debug)]
pub(crate) struct Runners(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    running: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    ends: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} queued", self.jobs.len())
    }
}

impl Runners {
    /// Starts the threads.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub(crate) fn new(count: usize) -> std::io::Result<Runners> {
        let runners = Runners(Arc::default());
        for number in 0..count {
            let shared = Arc::clone(&runners.0);
            let thread = std::thread::Builder::new().name(format!("runner-{number}"));
            thread.spawn(move || shared.work())?;
        }
        Ok(runners)
    }

    /// Does the work when a thread is free for it; none if it panicked. Work that nobody waits for
    /// any more when its turn comes is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        let shared = Arc::clone(&self.0);
        let job = move || {
            if sender.is_closed() {
                return;
            }
            // Who has the answer must not find it still running.
            let running = Running::new(&shared);
            let result = work();
            drop(running);
            let _ = sender.send(result);
        };
        self.0.queue().jobs.push_back(Box::new(job));
        self.0.changed.notify_one();
        receiver.await.ok()
    }

    /// How many are at work.
    pub(crate) fn running(&self) -> usize {
        self.0.running.load(Ordering::Relaxed)
    }
}

/// Counts a job while it is at work, also when it panics.
struct Running<'a>(&'a AtomicUsize);

impl Running<'_> {
    fn new(shared: &Shared) -> Running<'_> {
        shared.running.fetch_add(1, Ordering::Relaxed);
        Running(&shared.running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Runners {
    fn drop(&mut self) {
        self.0.queue().ends = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's life.
    fn work(&self) {
        let mut queue = self.queue();
        while !queue.ends {
            let Some(job) = queue.jobs.pop_front() else {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(queue);
            // Its sender is dropped with it, which is how the one who waits is told.
            let _ = catch_unwind(AssertUnwindSafe(job));
            queue = self.queue();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[actix_web::test]
    async fn as_many_as_threads_run_and_the_next_follow_in_order() {
        let runners = Runners::new(1).unwrap();
        let (sender, receiver) = mpsc::channel();
        let note = |name: &'static str| {
            let sender = sender.clone();
            move || sender.send(name).is_ok()
        };
        let (first, second) = (runners.run(note("first")), runners.run(note("second")));
        assert_eq!(futures_util::future::join(first, second).await, (Some(true), Some(true)));
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), ["first", "second"]);
    }

    #[actix_web::test]
    async fn a_panic_is_told_and_the_thread_goes_on() {
        let runners = Runners::new(1).unwrap();
        let panics = runners.run(|| -> u8 { panic!("on purpose") });
        assert_eq!(panics.await, None);
        assert_eq!(runners.run(|| 7).await, Some(7));
        assert_eq!(runners.running(), 0);
    }

    #[actix_web::test]
    async fn work_that_nobody_waits_for_is_not_done() {
        let runners = Runners::new(1).unwrap();
        let (go, wait) = mpsc::channel::<()>();
        let busy = runners.run(move || wait.recv().is_err());
        let (sender, receiver) = mpsc::channel();
        let left = runners.run(move || sender.send(()).is_ok());
        let soon = Duration::from_millis(20);
        // Both are queued; then the second client leaves.
        let both = futures_util::future::join(tokio::time::timeout(soon, left), async {
            tokio::time::sleep(2 * soon).await;
            drop(go);
        });
        let (busy, (left, ())) = futures_util::future::join(busy, both).await;
        assert!(busy == Some(true) && left.is_err());
        assert_eq!(runners.run(|| ()).await, Some(()));
        assert!(receiver.try_recv().is_err());
    }
}
