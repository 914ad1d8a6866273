//! Life cycle: when the server is ready, and how it stops.

use crate::error::ApiError;
use crate::models::{Availability, Model, admit_own, keep_weights};
use crate::permits::deadline;
use crate::state::State;
use crate::systemd;
use actix_web::web::Data;
use anyhow::Context;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};

/// Time from one look whether the server is idle to the next.
const TICK: Duration = Duration::from_millis(500);

/// What the probes are told.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    /// Whether the model was loaded and run once.
    checked: AtomicBool,
    /// Whether that is being tried.
    checking: AtomicBool,
    draining: AtomicBool,
}

/// Whether requests should be sent here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    /// The model has not been loaded and run yet.
    Unchecked,
    /// The server is about to stop.
    Draining,
}

impl Lifecycle {
    pub(crate) fn readiness(&self) -> Readiness {
        if self.is_draining() {
            Readiness::Draining
        } else if self.checked.load(Relaxed) {
            Readiness::Ready
        } else {
            Readiness::Unchecked
        }
    }

    /// Says that the model has been loaded and run.
    pub(crate) fn set_checked(&self) {
        self.checked.store(true, Relaxed);
    }

    /// Whether the server is about to stop, so that connections should not be kept.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }
}

/// Loads each model and runs it once.
///
/// # Errors
/// Those of [`check_model`].
pub(crate) async fn check_models(state: &Data<State>) -> anyhow::Result<()> {
    for model in state.models.all() {
        check_model(state, model).await.with_context(|| model.name.clone())?;
    }
    Ok(())
}

/// Loads a model and runs it once, with the memory that takes set aside.
///
/// # Errors
/// Those of [`derm::Classifier::check`], and [`ApiError::Busy`].
pub(crate) async fn check_model(state: &Data<State>, model: &Arc<Model>) -> Result<(), ApiError> {
    let deadline = deadline(state.config.timeout());
    let mut permit = admit_own(state, model, deadline).await?;
    let (shared, checked) = (state.clone(), Arc::clone(model));
    let check = state.inferences.run(move || {
        let failed = |error| ApiError::of(error, shared.config.timeout());
        checked.classifier.check().map_err(failed)?;
        keep_weights(&shared, &checked, &mut permit)
    });
    check.await??;
    state.lifecycle.set_checked();
    model.set_availability(Availability::Ready);
    Ok(())
}

/// Begins to check a model, unless that is being done, or another one is checked.
pub(crate) fn begin_to_check(state: &Data<State>, model: &Arc<Model>) {
    if state.lifecycle.checking.swap(true, Relaxed) {
        return;
    }
    let (state, model) = (state.clone(), Arc::clone(model));
    actix_web::rt::spawn(async move {
        if let Err(error) = check_model(&state, &model).await {
            tracing::error!(%error, "the model cannot be used; not ready");
        }
        state.lifecycle.checking.store(false, Relaxed);
    });
}

/// Waits until the server is to stop taking connections: after SIGTERM and DRAIN_SECONDS, after
/// SIGINT, or when nobody has been connected for EXIT_IDLE_SECONDS.
pub(crate) async fn stopped(state: Data<State>, mut signals: StopSignals) {
    tokio::select! {
        () = signals.received() => {}
        () = idle(&state) => tracing::info!("nobody is connected: stopping"),
    }
    state.lifecycle.draining.store(true, Relaxed);
    systemd::notify_stopping();
    let drain = state.config.drain_time();
    if signals.is_urgent || drain.is_zero() {
        return;
    }
    tracing::info!(seconds = drain.as_secs(), "draining");
    tokio::select! {
        () = sleep(drain) => {}
        () = signals.received() => {}
    }
}

/// SIGTERM and SIGINT.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    /// Whether there is no time for draining.
    is_urgent: bool,
}

impl StopSignals {
    /// Takes the signals over from the system, which would end the process.
    ///
    /// # Errors
    /// If the system does not let it.
    pub(crate) fn new() -> std::io::Result<StopSignals> {
        let (terminate, interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(StopSignals { terminate, interrupt, is_urgent: false })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => self.is_urgent = true,
        }
    }
}

/// Waits until nobody has been connected for EXIT_IDLE_SECONDS; for ever if that is 0.
async fn idle(state: &State) {
    let Some(limit) = state.config.exit_idle() else { return std::future::pending().await };
    let (mut since, mut opened) = (Instant::now(), 0);
    while since.elapsed() < limit {
        sleep(TICK).await;
        let before = std::mem::replace(&mut opened, state.connections.opened());
        if opened != before || state.connections.count() > 0 || state.permits.is_busy() {
            since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_checked_and_not_draining() {
        let lifecycle = Lifecycle::default();
        assert_eq!(lifecycle.readiness(), Readiness::Unchecked);
        lifecycle.set_checked();
        assert_eq!(lifecycle.readiness(), Readiness::Ready);
        lifecycle.draining.store(true, Relaxed);
        assert_eq!(lifecycle.readiness(), Readiness::Draining);
    }
}
