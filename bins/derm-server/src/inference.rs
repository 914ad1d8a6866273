//! Inference: the one way from what a request asks to a report, through admission and the job queue.

use crate::clients::Client;
use crate::config::DECODING;
use crate::error::ApiError;
use crate::models::{Availability, Model, admit, keep_weights};
use crate::permits::{AnswerPermit, InferencePermit, LATE};
use crate::state::State;
use actix_web::web::Data;
use derm::{Footprint, Picture, Report, Request};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::Instant;

/// What is asked of a model, and until when.
#[derive(Debug, Clone)]
pub(crate) struct Inference {
    pub(crate) model: Arc<Model>,
    pub(crate) request: Request,
    /// Bytes that it takes beside the arenas.
    pub(crate) memory: u64,
    pub(crate) deadline: Instant,
}

/// An inference that runs.
pub(crate) struct Running {
    state: Data<State>,
    asked: Inference,
    permit: InferencePermit,
    /// How long it waited for its turn; zero once a prediction was counted with it.
    queued: Duration,
}

impl Inference {
    /// Waits until it is admitted, and does the work on a thread of inferences.
    ///
    /// # Errors
    /// Those of admission, and of the work.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        state: &Data<State>,
        client: &Client,
        work: impl FnOnce(Running) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let Inference { model, deadline, .. } = &self;
        // What the arenas take is known once another request has loaded the model.
        let bytes = || {
            let cost = model.classifier.cost_of(self.memory, &self.request).ok()?;
            usize::try_from(cost.total()?).ok()
        };
        let asked_at = Instant::now();
        let permit = admit(state, model, client, bytes, *deadline).await?;
        let (shared, asked) = (state.clone(), self.clone());
        // The permit goes with the job: a client that leaves does not make room for another inference
        // while its own still runs.
        let job = state.inferences.run(move || {
            if Instant::now() > asked.deadline {
                return Err(ApiError::Busy(LATE));
            }
            let queued = asked_at.elapsed();
            make_room(&shared, &asked.model);
            work(Running { state: shared, asked, permit, queued })
        });
        let done = job.await??;
        state.lifecycle.set_checked();
        self.model.set_availability(Availability::Ready);
        Ok(done)
    }
}

impl Running {
    /// Classifies a picture.
    pub(crate) fn classify(&mut self, picture: Picture<'_>) -> Result<Report, ApiError> {
        let deadline = self.asked.deadline.into_std();
        let picture = picture.until(deadline.min(Instant::now().into_std() + DECODING));
        let classifier = &self.asked.model.classifier;
        let report = classifier.classify(&picture, &self.asked.request, deadline);
        self.finish(report)
    }

    /// Classifies the picture in these bytes.
    pub(crate) fn classify_bytes(&mut self, bytes: &[u8]) -> Result<Report, ApiError> {
        let picture = self.asked.model.classifier.open(bytes);
        let picture = picture.map_err(|error| self.failed(error))?;
        self.classify(picture)
    }

    /// Classifies a tensor of the graph's own input.
    pub(crate) fn classify_tensor(&mut self, values: &[f32]) -> Result<Report, ApiError> {
        let Inference { model, request, deadline, .. } = &self.asked;
        let report = model.classifier.classify_tensor(values, request, deadline.into_std());
        self.finish(report)
    }

    /// Gives back all memory but that of the answer.
    pub(crate) fn into_answer(self, bytes: usize) -> AnswerPermit {
        self.permit.into_answer(bytes)
    }

    fn finish(&mut self, report: Result<Report, derm::Error>) -> Result<Report, ApiError> {
        keep_weights(&self.state, &self.asked.model, &mut self.permit)?;
        let report = report.map_err(|error| self.failed(error))?;
        self.state.predictions.fetch_add(1, Relaxed);
        let queued = std::mem::take(&mut self.queued);
        self.state.metrics.prediction(&self.asked.model.name, &report, queued);
        Ok(report)
    }

    fn failed(&self, error: derm::Error) -> ApiError {
        ApiError::of(error, self.state.config.timeout())
    }
}

/// Drops the arenas that are kept for a next prediction where the inferences that run have reserved
/// their memory. One of them is about to be used.
fn make_room(state: &State, model: &Model) {
    let Some(Footprint { arena, .. }) = model.classifier.footprint() else { return };
    let reserved = state.permits.reserved();
    let free = reserved.available.saturating_sub(reserved.inferences);
    let idle: usize = state.models.all().iter().map(|model| model.classifier.idle_bytes()).sum();
    if idle.saturating_sub(arena) > free {
        state.models.all().iter().for_each(|model| model.classifier.release_arenas());
    }
}
