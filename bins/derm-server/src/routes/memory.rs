//! What the process holds, in the original application's words and some more.

use crate::state::State;
use actix_web::web::{Data, Json};
use derm::memory::{Limit, MIB, Pressure, Usage};
use serde::Serialize;
use std::sync::atomic::Ordering::Relaxed;

#[derive(Serialize)]
pub(crate) struct Answer {
    status: &'static str,
    memory: Memory,
    model_loaded: bool,
    gradcam_enabled: bool,
    /// How often the model was loaded.
    model_loads: u64,
    predictions: u64,
    running: usize,
    waiting: usize,
    uptime_seconds: u64,
}

/// All in MiB.
#[derive(Serialize)]
struct Memory {
    rss_mb: f64,
    vms_mb: f64,
    peak_mb: f64,
    /// RSS as a share of the limit, in percent.
    percent: f64,
    limit_mb: f64,
    limit_source: derm::memory::LimitSource,
    /// Stalls on memory in the last 10 s, in percent of time; null where the kernel does not say.
    pressure: Option<Pressure>,
}

pub(crate) async fn memory(state: Data<State>) -> Json<Answer> {
    let (usage, limit) = (derm::memory::usage(), derm::memory::limit());
    Json(Answer {
        status: "ok",
        memory: in_mib(usage, limit),
        model_loaded: state.classifier.is_loaded(),
        gradcam_enabled: state.config.enable_gradcam,
        model_loads: state.classifier.times_loaded(),
        predictions: state.predictions.load(Relaxed),
        running: state.permits.running(),
        waiting: state.permits.waiting(),
        uptime_seconds: state.started.elapsed().as_secs(),
    })
}

fn in_mib(usage: Usage, limit: Limit) -> Memory {
    let mib = |bytes: u64| (bytes as f64 / MIB * 100.0).round() / 100.0;
    Memory {
        rss_mb: mib(usage.rss),
        vms_mb: mib(usage.virtual_size),
        peak_mb: mib(usage.peak),
        percent: (usage.rss as f64 / limit.bytes as f64 * 10_000.0).round() / 100.0,
        limit_mb: mib(limit.bytes),
        limit_source: limit.source,
        pressure: derm::memory::pressure(),
    }
}
