//! Intake: a body as it arrives, held to a minimum rate and to the memory that is granted for it.

use crate::clients::Client;
use crate::error::ApiError;
use crate::excerpt::excerpt;
use crate::permits::{Permits, UploadPermit};
use actix_web::web::Bytes;
use futures_util::{Stream, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Bytes per second that a body must arrive with on average, after a time of grace.
const MIN_RATE: f64 = 2048.0;
const GRACE: Duration = Duration::from_secs(5);

/// Reads one body.
#[derive(Debug)]
pub(crate) struct Intake<'a> {
    permits: &'a Permits,
    permit: UploadPermit,
    received: usize,
    /// The most that may be received, and the limit that the client is told.
    largest: usize,
    told: usize,
    start: Instant,
    /// How long the client may take.
    limit: Duration,
    /// When the request's time is over.
    deadline: Instant,
}

impl Intake<'_> {
    /// For a client's body of at most `largest` bytes; a client that sends more is told `told`.
    pub(crate) fn new(
        permits: &Permits,
        client: Arc<Client>,
        (largest, told): (usize, usize),
        limit: Duration,
        deadline: Instant,
    ) -> Intake<'_> {
        let (permit, start) = (UploadPermit::new(client), Instant::now());
        Intake { permits, permit, received: 0, largest, told, start, limit, deadline }
    }

    /// The memory of what was read; to be held as long as that is.
    pub(crate) fn into_permit(self) -> UploadPermit {
        self.permit
    }

    /// The next item of a stream that reads from the body.
    ///
    /// # Errors
    /// [`ApiError::UploadTooSlow`].
    pub(crate) async fn next<T>(
        &self,
        stream: &mut (impl Stream<Item = T> + Unpin),
    ) -> Result<Option<T>, ApiError> {
        let earned = Duration::from_secs_f64(self.received as f64 / MIN_RATE);
        let until = self.start + self.limit.min(GRACE + earned);
        timeout_at(until, stream.next()).await.map_err(|_| ApiError::UploadTooSlow)
    }

    /// The next chunk of the body, or of a field of it, with the memory to keep it.
    ///
    /// # Errors
    /// [`ApiError::UploadTooSlow`], [`ApiError::UploadTooLarge`], [`ApiError::Busy`];
    /// [`ApiError::BadRequest`] for a malformed body.
    pub(crate) async fn chunk<E: std::fmt::Display>(
        &mut self,
        stream: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
    ) -> Result<Option<Bytes>, ApiError> {
        let Some(chunk) = self.next(stream).await? else { return Ok(None) };
        let chunk = chunk.map_err(|error| malformed(&error))?;
        self.received += chunk.len();
        if self.received > self.largest {
            return Err(ApiError::UploadTooLarge(self.told));
        }
        let waiting = Instant::now();
        self.permits.grow(&mut self.permit, self.received, self.deadline).await?;
        // The client cannot send while the server waits for memory.
        self.start += waiting.elapsed();
        Ok(Some(chunk))
    }
}

/// The error of a body that breaks its format.
pub(crate) fn malformed(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::BadRequest(format!("the body cannot be read: {}", excerpt(&error.to_string())))
}
