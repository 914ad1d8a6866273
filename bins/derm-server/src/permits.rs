//! Who may run, who may wait, and who is told to come back later.
//!
//! Waiting is bounded twice: in time, and in the bytes that those who wait hold. A body is read
//! only when its bytes have been granted; until then it stays with the client.

use crate::error::ApiError;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Uploads are counted in blocks, so that a semaphore's count suffices.
const BLOCK: usize = 1024;
/// Largest uploads that may be held at once.
const LARGEST_UPLOADS: usize = 4;
/// Requests that may wait at once, however small.
const MAX_WAITING: usize = 512;

/// The two things that requests wait for.
#[derive(Debug)]
pub(crate) struct Permits {
    inferences: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    largest_upload: usize,
    waiting: Arc<AtomicUsize>,
    running: usize,
}

/// The right to hold an upload in memory, given back when dropped.
#[derive(Debug)]
pub(crate) struct UploadPermit(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

/// The right to run one inference, given back when dropped.
#[derive(Debug)]
pub(crate) struct InferencePermit(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

impl Permits {
    /// `inferences` at once; uploads of up to `largest_upload` bytes.
    pub(crate) fn new(inferences: usize, largest_upload: usize) -> Permits {
        let blocks = LARGEST_UPLOADS * largest_upload.div_ceil(BLOCK);
        Permits {
            inferences: Arc::new(Semaphore::new(inferences)),
            uploads: Arc::new(Semaphore::new(blocks)),
            largest_upload,
            waiting: Arc::new(AtomicUsize::new(0)),
            running: inferences,
        }
    }

    /// Waits for room for an upload of `bytes` (the largest when the client does not say).
    pub(crate) async fn upload(
        &self,
        bytes: Option<usize>,
        deadline: Instant,
    ) -> Result<UploadPermit, ApiError> {
        let bytes = bytes.unwrap_or(self.largest_upload).min(self.largest_upload);
        let blocks = u32::try_from(bytes.div_ceil(BLOCK).max(1)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.uploads).acquire_many_owned(blocks);
        self.wait(permit, deadline).await.map(UploadPermit)
    }

    /// Waits for the right to run one inference.
    pub(crate) async fn inference(&self, deadline: Instant) -> Result<InferencePermit, ApiError> {
        let permit = Arc::clone(&self.inferences).acquire_owned();
        self.wait(permit, deadline).await.map(InferencePermit)
    }

    async fn wait<T, E>(
        &self,
        permit: impl Future<Output = Result<T, E>>,
        deadline: Instant,
    ) -> Result<T, ApiError> {
        let place = Place::take(&self.waiting)?;
        let permit = timeout_at(deadline, permit).await;
        drop(place);
        match permit {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(ApiError::Busy("no place came free in time")),
        }
    }

    /// Requests that wait now.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Inferences that run now.
    pub(crate) fn running(&self) -> usize {
        self.running - self.inferences.available_permits()
    }
}

/// A place among those who wait; free again when dropped, also when the client goes away.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(waiting: &Arc<AtomicUsize>) -> Result<Place, ApiError> {
        let place = Place(Arc::clone(waiting));
        if waiting.fetch_add(1, Relaxed) >= MAX_WAITING {
            return Err(ApiError::Busy("too many requests are waiting"));
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// When a request that begins now must be done.
pub(crate) fn deadline(within: Duration) -> Instant {
    Instant::now() + within
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn one_runs_and_the_next_waits_in_vain() {
        let permits = Permits::new(1, 2048);
        let held = permits.inference(deadline(Duration::from_secs(5))).await.unwrap();
        assert_eq!(permits.running(), 1);
        let late = permits.inference(deadline(Duration::from_millis(20))).await;
        assert!(matches!(late, Err(ApiError::Busy(_))));
        drop(held);
        assert!(permits.inference(deadline(Duration::from_millis(20))).await.is_ok());
        assert_eq!((permits.waiting(), permits.running()), (0, 0));
    }

    #[actix_web::test]
    async fn uploads_are_bounded_in_bytes() {
        let permits = Permits::new(1, 4096);
        let soon = || deadline(Duration::from_millis(20));
        let mut held = Vec::new();
        for _ in 0..LARGEST_UPLOADS {
            held.push(permits.upload(None, soon()).await.unwrap());
        }
        assert!(permits.upload(Some(1), soon()).await.is_err());
        held.pop();
        assert!(permits.upload(Some(4096), soon()).await.is_ok());
    }
}
