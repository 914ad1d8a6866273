//! Housekeeping: returns memory to the system in the pauses between requests.
//!
//! Arenas and plans that are kept for a next prediction go when none has come for a moment; the model
//! goes when it has been unused for MODEL_IDLE_SECONDS, or when memory is short all the same.
//! Connections that are too slow are ended.

use crate::state::State;
use actix_web::web::Data;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, interval_at};

/// Time from one look to the next.
const TICK: Duration = Duration::from_millis(250);
/// Memory counts as short from this share of time stalled on it (percent of the last 10 s) ...
const SHORT_STALLS: f64 = 10.0;
/// ... or from this share of the limit (percent).
const SHORT_USE: f64 = 92.0;

/// Starts housekeeping on the event loop; the work itself runs in the background.
pub(crate) fn start(state: &Data<State>) {
    let connections = state.clone();
    actix_web::rt::spawn(async move {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tick.tick().await;
            let short = connections.permits.memory_is_short();
            connections.connections.sweep(short);
            connections.metrics_connections.sweep(short);
        }
    });
    let mut housekeeping = Housekeeping {
        state: state.clone(),
        tidied: None,
        opened: 0,
        was_short: false,
        told_superseded: false,
    };
    actix_web::rt::spawn(async move {
        // Not at once: what starting leaves is returned, too.
        let mut tick = interval_at(Instant::now() + TICK, TICK);
        loop {
            tick.tick().await;
            housekeeping.look().await;
        }
    });
}

struct Housekeeping {
    state: Data<State>,
    /// Inferences that had been granted when all was released last; `None`: that was never done.
    tidied: Option<usize>,
    /// Connections that had been opened then.
    opened: u64,
    /// Whether memory was short at the last look.
    was_short: bool,
    /// Whether the log says that the model's files are not those served.
    told_superseded: bool,
}

impl Housekeeping {
    async fn look(&mut self) {
        let state = &self.state;
        // In this order: an inference that is granted in between is found busy, or is not counted yet.
        let granted = state.permits.granted();
        let busy = state.permits.is_busy();
        let short = state.models.least_recently_used().is_some() && is_short();
        self.release(granted, busy, short).await;
        if short
            && self.was_short
            && !busy
            && let Some(model) = self.state.models.least_recently_used().cloned()
        {
            let name = model.name.clone();
            self.run(move |_| model.classifier.unload()).await;
            tracing::warn!(model = name, "memory is short: model unloaded");
        }
        self.was_short = short;
        self.unload_if_idle().await;
        self.tell_superseded();
    }

    fn tell_superseded(&mut self) {
        let mut models = self.state.models.all().iter();
        let is_superseded = models.any(|model| model.classifier.is_superseded());
        if is_superseded && !self.told_superseded {
            tracing::warn!("the model's files have changed; they are ignored until a reload");
        }
        self.told_superseded = is_superseded;
    }

    /// Returns what starting, the predictions since the last time, or clients that are gone have left.
    async fn release(&mut self, granted: usize, busy: bool, short: bool) {
        let connections = &self.state.connections;
        let opened = connections.opened();
        let has_left = connections.count() == 0 && opened != self.opened;
        if self.tidied == Some(granted) && !has_left {
            return;
        }
        // The heap's free pages go under load, too; what the next prediction will use again stays
        // until there is a pause.
        if busy && !short {
            self.run(|_| derm::memory::release_freed()).await;
        } else {
            self.run(|state| {
                state.models.all().iter().for_each(|model| model.classifier.release_idle());
            })
            .await;
        }
        if !busy {
            (self.tidied, self.opened) = (Some(granted), opened);
        }
    }

    async fn unload_if_idle(&self) {
        let Some(idle) = self.state.config.model_idle() else { return };
        let several = self.state.models.all().len() > 1;
        for model in self.state.models.all() {
            if !model.classifier.is_loaded() || several && model.is_pinned() {
                continue;
            }
            let idler = Arc::clone(model);
            let unloaded = self.run(move |_| idler.classifier.unload_if_idle(idle)).await;
            if unloaded == Some(true) {
                let model = &model.name;
                tracing::info!(model, idle_seconds = idle.as_secs(), "model unloaded");
            }
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Option<T> {
        let state = self.state.clone();
        self.state.background.run(move || work(&state)).await.ok()
    }
}

fn is_short() -> bool {
    let share = derm::memory::usage().zip(derm::memory::limit());
    let share = share.map(|(usage, limit)| usage.rss as f64 / limit.bytes as f64 * 100.0);
    let pressure = derm::memory::pressure();
    share.is_some_and(|share| share > SHORT_USE)
        || pressure.is_some_and(|pressure| f64::from(pressure.some_avg10) > SHORT_STALLS)
}
