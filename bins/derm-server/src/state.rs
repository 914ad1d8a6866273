//! What all requests share.

use crate::config::Config;
use crate::permits::Permits;
use crate::runners::Runners;
use actix_web::web::Data;
use derm::Classifier;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) classifier: Classifier,
    pub(crate) permits: Permits,
    pub(crate) runners: Runners,
    pub(crate) config: Config,
    pub(crate) started: Instant,
    /// Predictions answered since the start.
    pub(crate) predictions: AtomicU64,
}

impl State {
    pub(crate) fn new(config: Config, classifier: Classifier) -> std::io::Result<State> {
        // What only starting needed does not count as used.
        derm::memory::release_file_pages();
        Ok(State {
            classifier,
            runners: Runners::new(config.threads.get())?,
            permits: Permits::new(
                config.threads.get(),
                config.max_upload_bytes,
                usize::try_from(config.budget()).unwrap_or(usize::MAX),
                derm::memory::usage().rss as usize,
            ),
            config,
            started: Instant::now(),
            predictions: AtomicU64::new(0),
        })
    }
}

/// How often it is looked after what is no longer used.
const TICK: Duration = Duration::from_millis(250);
/// Stalls on memory (percent of time, last 10 s) and use of the limit (percent) from which on
/// memory counts as short.
const STALLS: f64 = 10.0;
const SHORT: f64 = 92.0;

/// Gives memory back: what is kept for a next prediction when none has come for a moment, the
/// model when it has been unused for MODEL_IDLE_SECONDS or when memory is short all the same.
pub(crate) fn keep_house(state: &Data<State>) {
    let state = state.clone();
    actix_web::rt::spawn(async move {
        let mut tick = tokio::time::interval(TICK);
        let mut tidied = 0;
        let mut was_short = false;
        loop {
            tick.tick().await;
            let used = state.permits.granted();
            let busy = state.runners.running() + state.permits.waiting() > 0;
            let short = state.classifier.is_loaded() && is_short();
            if used != tidied {
                // The heap's gaps go back under load, too; what the next prediction will use again
                // stays until there is a pause.
                if busy && !short {
                    run(&state, |_| derm::memory::release_freed()).await;
                } else {
                    run(&state, |state| state.classifier.release_idle()).await;
                }
                tidied = if busy { tidied } else { used };
            }
            if short && was_short && !busy && state.classifier.is_loaded() {
                run(&state, |state| state.classifier.unload()).await;
                tracing::warn!("memory is short: model unloaded");
            }
            was_short = short;
            if let Some(idle) = state.config.model_idle()
                && state.classifier.is_loaded()
                && run(&state, move |state| state.classifier.unload_if_idle(idle)).await
                    == Some(true)
            {
                tracing::info!(idle_seconds = idle.as_secs(), "model unloaded");
            }
        }
    });
}

async fn run<T: Send + 'static>(
    state: &Data<State>,
    work: impl FnOnce(&State) -> T + Send + 'static,
) -> Option<T> {
    let state = state.clone();
    actix_web::rt::task::spawn_blocking(move || work(&state)).await.ok()
}

fn is_short() -> bool {
    let (usage, limit) = (derm::memory::usage(), derm::memory::limit());
    let share = usage.rss as f64 / limit.bytes as f64 * 100.0;
    share > SHORT
        || derm::memory::pressure().is_some_and(|pressure| f64::from(pressure.some_avg10) > STALLS)
}
