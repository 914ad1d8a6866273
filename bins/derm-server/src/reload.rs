//! Replacing models while requests are answered, on SIGHUP, `POST /admin/reload`, or a load of the
//! repository extension.

use crate::error::ApiError;
use crate::jobs::JobQueue;
use crate::models::{Availability, Model, Reloading, give_up, replace_weights};
use crate::permits::deadline;
use crate::state::State;
use actix_web::web::Data;
use derm::Digest;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// Reloads each model. Of several, those that are not in memory are opened anew, and loaded by their
/// next use. Returns the digest of the first that was loaded. The outcomes are logged.
///
/// # Errors
/// The first of those of [`reload`]; models after the one that fails are reloaded all the same.
pub(crate) async fn reload_all(state: &Data<State>) -> Result<Option<Digest>, ApiError> {
    let models = state.models.all();
    let (mut digest, mut failed) = (None, None);
    for model in models {
        if models.len() > 1 && !model.classifier.is_loaded() {
            failed = failed.or(reopen(state, model).await.err());
            continue;
        }
        match reload(state, model).await {
            Ok(found) => digest = digest.or(Some(found)),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(digest), Err)
}

/// Opens a model that is not in memory anew.
async fn reopen(state: &Data<State>, model: &Arc<Model>) -> Result<(), ApiError> {
    let _replacing = model.replacing.lock().await;
    // What its weights took is not known any more.
    give_up(state, model, deadline(state.config.timeout())).await?;
    let reopened = Arc::clone(model);
    let opening = state.background.run(move || reopened.classifier.reopen());
    opening.await?.map_err(|error| ApiError::of(error, state.config.timeout()))
}

/// Loads what a model's paths lead to now, checks it, and serves it from then on: beside the old
/// model where the budget has room for both, else after the requests that run have ended. On failure
/// the old one stays. The outcome is logged.
///
/// # Errors
/// Those of [`derm::Classifier::reload`], and [`ApiError::Busy`].
pub(crate) async fn reload(state: &Data<State>, model: &Arc<Model>) -> Result<Digest, ApiError> {
    let outcome = replace(state, model).await;
    let name = &model.name;
    match &outcome {
        Ok(digest) => {
            state.lifecycle.set_checked();
            model.set_availability(Availability::Ready);
            tracing::info!(model = name, %digest, "model reloaded");
        }
        Err(error) => {
            tracing::error!(model = name, %error, "the model was not reloaded; the old one stays");
        }
    }
    outcome
}

async fn replace(state: &Data<State>, model: &Arc<Model>) -> Result<Digest, ApiError> {
    let deadline = deadline(state.config.timeout());
    let _replacing = model.replacing.lock().await;
    let reloading = Reloading::new(state, model, deadline);
    let beside = reloading.is_beside();
    let mut permit = state.permits.own_inference(reloading, deadline).await?;
    let (shared, replaced) = (state.clone(), Arc::clone(model));
    // A thread of its own: those of inferences go on meanwhile.
    let thread = JobQueue::new("reload", 1).map_err(|_| ApiError::Internal)?;
    let job = thread.run(move || {
        if !beside {
            replaced.classifier.unload();
        }
        let digest = replaced.classifier.reload();
        replace_weights(&shared, &replaced, &mut permit)?;
        digest.map_err(|error| ApiError::of(error, shared.config.timeout()))
    });
    job.await?
}

/// Reloads all models at each SIGHUP.
///
/// # Errors
/// If the signal cannot be handled.
pub(crate) fn on_hangup(state: &Data<State>) -> std::io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let state = state.clone();
    actix_web::rt::spawn(async move {
        while hangup.recv().await.is_some() {
            // Its outcome is logged.
            let _ = reload_all(&state).await;
        }
    });
    Ok(())
}
