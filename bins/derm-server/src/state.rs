//! What all requests share.

use crate::config::Config;
use crate::permits::Permits;
use actix_web::web::Data;
use derm::Classifier;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) classifier: Arc<Classifier>,
    pub(crate) permits: Permits,
    pub(crate) config: Config,
    pub(crate) started: Instant,
    /// Predictions answered since the start.
    pub(crate) predictions: AtomicU64,
}

impl State {
    pub(crate) fn new(config: Config, classifier: Classifier) -> State {
        State {
            classifier: Arc::new(classifier),
            permits: Permits::new(config.threads.get(), config.max_upload_bytes),
            config,
            started: Instant::now(),
            predictions: AtomicU64::new(0),
        }
    }
}

/// Unloads the model when it has been unused for MODEL_IDLE_SECONDS.
pub(crate) fn watch_idle(state: &Data<State>) {
    let Some(idle) = state.config.model_idle() else { return };
    let classifier = Arc::clone(&state.classifier);
    actix_web::rt::spawn(async move {
        let mut tick = tokio::time::interval(idle.min(Duration::from_secs(1)));
        loop {
            tick.tick().await;
            let classifier = Arc::clone(&classifier);
            let unload = move || classifier.unload_if_idle(idle);
            if matches!(actix_web::rt::task::spawn_blocking(unload).await, Ok(true)) {
                tracing::info!(idle_seconds = idle.as_secs(), "model unloaded");
            }
        }
    });
}
