//! Shutdown: what runs when the server is told to stop may end by itself until a deadline; then it is
//! cancelled and answered.

use crate::error::ApiError;
use std::time::Duration;
use tokio::sync::watch;

/// Time to send the answers of what was cancelled.
const ANSWERS: Duration = Duration::from_secs(1);

/// Tells requests that they are cancelled.
#[derive(Debug)]
pub(crate) struct Shutdown(watch::Sender<bool>);

impl Default for Shutdown {
    fn default() -> Self {
        Shutdown(watch::Sender::new(false))
    }
}

impl Shutdown {
    /// Waits until requests have to end, so that their answers are sent within `limit`; then cancels
    /// them.
    pub(crate) async fn cancel_within(&self, limit: Duration) {
        tokio::time::sleep(limit.saturating_sub(ANSWERS.min(limit / 2))).await;
        self.0.send_replace(true);
    }

    /// The work's result, or that it was cancelled. Its future is dropped then.
    ///
    /// # Errors
    /// [`ApiError::ShuttingDown`].
    pub(crate) async fn or_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let mut cancelled = self.0.subscribe();
        tokio::select! {
            biased;
            result = work => result,
            _ = cancelled.wait_for(|cancelled| *cancelled) => Err(ApiError::ShuttingDown),
        }
    }
}
