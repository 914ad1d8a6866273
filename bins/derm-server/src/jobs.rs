//! Job queue: the one way to run work off the event loop.
//!
//! A thread whose job ends goes on with the next one in the queue, without a way through the event
//! loop or the scheduler: waking another thread for it left two cores idle for a quarter of the time.

use crate::error::ApiError;
use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Threads and the queue of jobs that they run in order; they end when it is dropped.
#[derive(Debug)]
pub(crate) struct JobQueue(Arc<Shared>);

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

impl JobQueue {
    /// Starts the threads; the system shows them by this name and a number.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub(crate) fn new(name: &str, threads: usize) -> std::io::Result<JobQueue> {
        let queue = JobQueue(Arc::default());
        for number in 0..threads {
            let shared = Arc::clone(&queue.0);
            let thread = std::thread::Builder::new().name(format!("{name}-{number}"));
            thread.spawn(move || shared.work())?;
        }
        Ok(queue)
    }

    /// Runs a job when a thread is free for it. A job that nobody waits for any more when its turn
    /// comes is dropped.
    ///
    /// # Errors
    /// [`ApiError::Internal`]: it panicked, which has been logged.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let (sender, receiver) = oneshot::channel();
        let shared = Arc::clone(&self.0);
        let job = move || {
            if sender.is_closed() {
                return;
            }
            // A client that has its answer must not find the job still running.
            let running = Running::new(&shared);
            let result = work();
            drop(running);
            let _ = sender.send(result);
        };
        self.0.queue().jobs.push_back(Box::new(job));
        self.0.changed.notify_one();
        // The sender is dropped without an answer where the job panics.
        receiver.await.map_err(|_| ApiError::Internal)
    }

    /// Jobs that run now.
    pub(crate) fn running(&self) -> usize {
        self.0.running.load(Ordering::Relaxed)
    }
}

/// Counts a job while it runs, also when it panics.
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

impl Drop for JobQueue {
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
            // The job owns or shares behind locks all that it changes.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(job)) {
                tracing::error!(panic = message(&*payload), "a job panicked");
            }
            queue = self.queue();
        }
    }
}

/// A panic's message.
fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[actix_web::test]
    async fn jobs_run_in_order() {
        let jobs = JobQueue::new("test", 1).unwrap();
        let (sender, receiver) = mpsc::channel();
        let note = |name: &'static str| {
            let sender = sender.clone();
            move || sender.send(name).is_ok()
        };
        let (first, second) = (jobs.run(note("first")), jobs.run(note("second")));
        let (first, second) = futures_util::future::join(first, second).await;
        assert!(first.unwrap() && second.unwrap());
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), ["first", "second"]);
    }

    #[actix_web::test]
    async fn a_panic_is_an_internal_error_and_the_thread_goes_on() {
        let jobs = JobQueue::new("test", 1).unwrap();
        let panics = jobs.run(|| -> u8 { panic!("on purpose") });
        assert!(matches!(panics.await, Err(ApiError::Internal)));
        assert_eq!(jobs.run(|| 7).await.unwrap(), 7);
        assert_eq!(jobs.running(), 0);
    }

    #[test]
    fn the_message_of_a_panic_is_kept() {
        let number = std::hint::black_box(3);
        let formatted = catch_unwind(|| panic!("number {number}")).unwrap_err();
        let literal = catch_unwind(|| panic!("on purpose")).unwrap_err();
        assert_eq!((message(&*formatted), message(&*literal)), ("number 3", "on purpose"));
        assert_eq!(message(&1u8), "no message");
    }

    #[actix_web::test]
    async fn work_that_nobody_waits_for_is_not_done() {
        let jobs = JobQueue::new("test", 1).unwrap();
        let (go, wait) = mpsc::channel::<()>();
        let busy = jobs.run(move || wait.recv().is_err());
        let (sender, receiver) = mpsc::channel();
        let left = jobs.run(move || sender.send(()).is_ok());
        let soon = Duration::from_millis(20);
        // Both are queued; then the second client leaves, and only then the first job may end.
        let both = futures_util::future::join(busy, async {
            let left = tokio::time::timeout(soon, left).await;
            drop(go);
            left
        });
        let (busy, left) = both.await;
        assert!(busy.unwrap() && left.is_err());
        jobs.run(|| ()).await.unwrap();
        assert!(receiver.try_recv().is_err());
    }
}
