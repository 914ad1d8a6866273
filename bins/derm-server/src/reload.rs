//! Replacing the model while requests are answered, on SIGHUP or `POST /admin/reload`.

use crate::error::ApiError;
use crate::jobs::JobQueue;
use crate::permits::{Demand, InferencePermit, deadline};
use crate::state::State;
use actix_web::web::Data;
use derm::Digest;
use tokio::signal::unix::{SignalKind, signal};

/// Loads what the model's paths lead to now, checks it, and serves it from then on: beside the old
/// model where the budget has room for both, else after the requests that run have ended. On failure
/// the old one stays. The outcome is logged.
///
/// # Errors
/// Those of [`derm::Classifier::reload`], and [`ApiError::Busy`].
pub(crate) async fn reload(state: &Data<State>) -> Result<Digest, ApiError> {
    let outcome = replace(state).await;
    match &outcome {
        Ok(digest) => {
            state.lifecycle.set_checked();
            tracing::info!(%digest, "model reloaded");
        }
        Err(error) => tracing::error!(%error, "the model was not reloaded; the old one stays"),
    }
    outcome
}

async fn replace(state: &Data<State>) -> Result<Digest, ApiError> {
    let deadline = deadline(state.config.timeout());
    let available = state.permits.reserved().available;
    let beside = room_beside(state).filter(|&bytes| bytes <= available);
    let demand = || beside.map_or(Demand::All, Demand::Bytes);
    let mut permit = state.permits.own_inference(demand, deadline).await?;
    let shared = state.clone();
    // A thread of its own: those of inferences go on meanwhile.
    let thread = JobQueue::new("reload", 1).map_err(|_| ApiError::Internal)?;
    let job = thread.run(move || {
        if beside.is_none() {
            shared.classifier.unload();
        }
        let digest = shared.classifier.reload();
        keep_weights(&shared, &mut permit);
        digest
    });
    job.await?.map_err(|error| ApiError::of(error, state.config.timeout()))
}

/// Bytes for a second model beside the one that is served: as much as that takes, and once more for
/// loading it, which holds some of the file. `None`: nothing is known yet.
fn room_beside(state: &State) -> Option<usize> {
    let footprint = state.classifier.footprint()?;
    Some(footprint.weights * 2 + footprint.arena)
}

fn keep_weights(state: &State, permit: &mut InferencePermit) {
    if let Some(footprint) = state.classifier.footprint() {
        state.permits.set_weights(permit, footprint.weights);
    }
}

/// Reloads the model at each SIGHUP.
///
/// # Errors
/// If the signal cannot be handled.
pub(crate) fn on_hangup(state: &Data<State>) -> std::io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let state = state.clone();
    actix_web::rt::spawn(async move {
        while hangup.recv().await.is_some() {
            // Its outcome is logged.
            let _ = reload(&state).await;
        }
    });
    Ok(())
}
