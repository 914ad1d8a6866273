//! Memory of the process, by the original application's names and some more.

use crate::models::Model;
use crate::state::State;
use actix_web::web::{Data, Json};
use derm::Footprint;
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
    /// How often a model was loaded.
    model_loads: u64,
    models: Vec<ModelMemory>,
    predictions: u64,
    running: usize,
    waiting: usize,
    connections: usize,
    /// Log lines that could not be written.
    log_lines_lost: u64,
    uptime_seconds: u64,
}

/// One model; MiB.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
struct ModelMemory {
    name: String,
    loaded: bool,
    /// Whether it stays in memory once it is loaded, when others need room.
    pinned: bool,
    /// How often it was loaded.
    loads: u64,
    /// Its packed weights, and one inference's arena; null before it was ever loaded.
    weights_mb: Option<f64>,
    arena_mb: Option<f64>,
}

impl ModelMemory {
    fn of(model: &Model) -> ModelMemory {
        let footprint = model.classifier.footprint();
        ModelMemory {
            name: model.name.clone(),
            loaded: model.classifier.is_loaded(),
            pinned: model.is_pinned(),
            loads: model.classifier.times_loaded(),
            weights_mb: footprint.map(|footprint| mib(footprint.weights)),
            arena_mb: footprint.map(|footprint| mib(footprint.arena)),
        }
    }
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
    /// The packed weights that are set aside, and one inference's arena, the largest of several
    /// models; null before a model was ever loaded.
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
    let models = state.models.all();
    Json(Answer {
        status: "ok",
        memory: in_mib(usage, limit),
        model_loaded: models.iter().any(|model| model.classifier.is_loaded()),
        gradcam_enabled: state.config.enable_gradcam,
        budget: budget(&state),
        model_loads: models.iter().map(|model| model.classifier.times_loaded()).sum(),
        models: models.iter().map(|model| ModelMemory::of(model)).collect(),
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
    let models = state.models.all().iter();
    let footprints: Vec<Footprint> =
        models.clone().filter_map(|model| model.classifier.footprint()).collect();
    let kept = models.clone().filter(|model| model.weights.is_kept());
    let weights = kept.filter_map(|model| model.classifier.footprint()).map(|kept| kept.weights);
    Budget {
        budget_mb: mib(state.config.budget() as usize),
        available_mb: mib(reserved.available),
        reserved_mb: mib(reserved.inferences),
        high_water_mb: mib(reserved.high_water),
        uploads_mb: mib(reserved.uploads),
        weights_mb: (!footprints.is_empty()).then(|| mib(weights.sum())),
        arena_mb: footprints.iter().map(|footprint| footprint.arena).max().map(mib),
        idle_arenas_mb: mib(models.map(|model| model.classifier.idle_bytes()).sum()),
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
