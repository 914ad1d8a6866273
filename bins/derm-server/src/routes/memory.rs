//! Memory of the process, by the original application's names and some more.

use crate::state::State;
use actix_web::web::{Data, Json};
use derm::memory::{Limit, MIB, Pressure, Usage};
use serde::Serialize;
use std::sync::atomic::Ordering::Relaxed;

#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = MemoryUse))]
pub(crate) struct Answer {
    status: &'static str,
    memory: Memory,
    model_loaded: bool,
    gradcam_enabled: bool,
    budget: Budget,
    /// How often the model was loaded.
    model_loads: u64,
    predictions: u64,
    running: usize,
    waiting: usize,
    connections: usize,
    /// Log lines that could not be written.
    log_lines_lost: u64,
    uptime_seconds: u64,
}

/// How MEMORY_BUDGET_MB is used, all in MiB.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
struct Budget {
    budget_mb: f64,
    /// What inferences share, beside the weights.
    available_mb: f64,
    /// What they have reserved now, and most ever.
    reserved_mb: f64,
    high_water_mb: f64,
    /// Compressed pictures of requests that run or wait.
    uploads_mb: f64,
    /// The packed weights, and one inference's arena; null before the model was ever loaded.
    weights_mb: Option<f64>,
    arena_mb: Option<f64>,
    /// Arenas that are kept for a next prediction.
    idle_arenas_mb: f64,
}

/// All in MiB; null where the system does not say.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
struct Memory {
    rss_mb: Option<f64>,
    vms_mb: Option<f64>,
    peak_mb: Option<f64>,
    /// RSS as a share of the limit, in percent.
    percent: Option<f64>,
    limit_mb: Option<f64>,
    #[cfg_attr(test, schema(value_type = Option<crate::openapi::LimitSource>))]
    limit_source: Option<derm::memory::LimitSource>,
    /// Stalls on memory in the last 10 s, in percent of time; null where the kernel does not say.
    #[cfg_attr(test, schema(value_type = Option<crate::openapi::Pressure>))]
    pressure: Option<Pressure>,
}

/// Memory of the process, and how the budget is used.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/memory/",
    tag = "operations",
    responses((status = 200, description = "Memory, in MiB", body = Answer)),
))]
pub(crate) async fn memory(state: Data<State>) -> Json<Answer> {
    let (usage, limit) = (derm::memory::usage(), derm::memory::limit());
    Json(Answer {
        status: "ok",
        memory: in_mib(usage, limit),
        model_loaded: state.classifier.is_loaded(),
        gradcam_enabled: state.config.enable_gradcam,
        budget: budget(&state),
        model_loads: state.classifier.times_loaded(),
        predictions: state.predictions.load(Relaxed),
        running: state.inferences.running(),
        waiting: state.permits.waiting(),
        connections: state.connections.count(),
        log_lines_lost: crate::logging::lost_lines(),
        uptime_seconds: state.started.elapsed().as_secs(),
    })
}

fn mib(bytes: usize) -> f64 {
    (bytes as f64 / MIB * 100.0).round() / 100.0
}

fn budget(state: &State) -> Budget {
    let reserved = state.permits.reserved();
    let footprint = state.classifier.footprint();
    Budget {
        budget_mb: mib(state.config.budget() as usize),
        available_mb: mib(reserved.available),
        reserved_mb: mib(reserved.inferences),
        high_water_mb: mib(reserved.high_water),
        uploads_mb: mib(reserved.uploads),
        weights_mb: footprint.map(|footprint| mib(footprint.weights)),
        arena_mb: footprint.map(|footprint| mib(footprint.arena)),
        idle_arenas_mb: mib(state.classifier.idle_bytes()),
    }
}

fn in_mib(usage: Option<Usage>, limit: Option<Limit>) -> Memory {
    let mib = |bytes: u64| mib(bytes as usize);
    let percent = |(usage, limit): (Usage, Limit)| {
        (usage.rss as f64 / limit.bytes as f64 * 10_000.0).round() / 100.0
    };
    Memory {
        rss_mb: usage.map(|usage| mib(usage.rss)),
        vms_mb: usage.map(|usage| mib(usage.virtual_size)),
        peak_mb: usage.map(|usage| mib(usage.peak)),
        percent: usage.zip(limit).map(percent),
        limit_mb: limit.map(|limit| mib(limit.bytes)),
        limit_source: limit.map(|limit| limit.source),
        pressure: derm::memory::pressure(),
    }
}
