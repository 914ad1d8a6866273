//! Gauges: the state at the time of a scrape, and counts that others keep.

use crate::config::Config;
use crate::lifecycle::Readiness;
use crate::logging::lost_lines;
use crate::models::Model;
use crate::state::State;
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, Opts, Registry};
use rustix::time::{ClockId, clock_gettime};
use std::time::{SystemTime, UNIX_EPOCH};

/// Metrics with the values that they have now.
pub(super) fn families(state: &State) -> prometheus::Result<Vec<MetricFamily>> {
    let values = Values::default();
    process(&values, state)?;
    memory(&values, state)?;
    server(&values, state)?;
    state.models.all().iter().try_for_each(|served| model(&values, served))?;
    Ok(values.0.gather())
}

/// The values of one scrape; those of one name with different labels become one family.
#[derive(Default)]
struct Values(Registry);

impl Values {
    fn gauge(&self, name: &str, help: &str, value: f64) -> prometheus::Result<()> {
        self.gauge_of(name, help, &[], value)
    }

    fn gauge_of(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        value: f64,
    ) -> prometheus::Result<()> {
        let gauge = Gauge::with_opts(options(name, help, labels))?;
        gauge.set(value);
        self.0.register(Box::new(gauge))
    }

    fn counter(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        value: f64,
    ) -> prometheus::Result<()> {
        let counter = Counter::with_opts(options(name, help, labels))?;
        counter.inc_by(value);
        self.0.register(Box::new(counter))
    }
}

fn options(name: &str, help: &str, labels: &[(&str, &str)]) -> Opts {
    labels
        .iter()
        .fold(Opts::new(name, help), |options, (label, value)| options.const_label(*label, *value))
}

/// The names that every Prometheus client has for its process.
fn process(values: &Values, state: &State) -> prometheus::Result<()> {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    values.counter("process_cpu_seconds_total", "CPU time of the process.", &[], cpu)?;
    let start = SystemTime::now() - state.started.elapsed();
    let start = start.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    // Whole seconds: it must not differ from scrape to scrape.
    values.gauge(
        "process_start_time_seconds",
        "Start of the process, seconds since 1970.",
        start.round(),
    )?;
    let Some(usage) = derm::memory::usage() else { return Ok(()) };
    let resident = usage.rss as f64;
    values.gauge("process_resident_memory_bytes", "Resident memory.", resident)?;
    values.gauge("process_virtual_memory_bytes", "Virtual memory.", usage.virtual_size as f64)?;
    values.gauge("derm_memory_peak_bytes", "Most resident memory so far.", usage.peak as f64)
}

fn memory(values: &Values, state: &State) -> prometheus::Result<()> {
    let reserved = state.permits.reserved();
    if let Some(limit) = derm::memory::limit() {
        let help = "Memory that the process may use: the limit of its cgroup, or the machine's.";
        values.gauge("derm_memory_limit_bytes", help, limit.bytes as f64)?;
    }
    if let Some(pressure) = derm::memory::pressure() {
        let help = "Share of the last 10 s in which some tasks stalled on memory.";
        let stalled = f64::from(pressure.some_avg10) / 100.0;
        values.gauge("derm_memory_stalled_ratio", help, stalled)?;
    }
    values.gauge(
        "derm_memory_budget_bytes",
        "Memory that the server allows itself (MEMORY_BUDGET_MB).",
        state.config.budget() as f64,
    )?;
    values.gauge(
        "derm_memory_available_bytes",
        "What the budget leaves to inferences after the weights.",
        reserved.available as f64,
    )?;
    values.gauge(
        "derm_memory_reserved_bytes",
        "What inferences have reserved of that.",
        reserved.inferences as f64,
    )?;
    values.gauge(
        "derm_memory_uploads_bytes",
        "Compressed pictures of requests that run or wait.",
        reserved.uploads as f64,
    )
}

fn server(values: &Values, state: &State) -> prometheus::Result<()> {
    let Config { max_concurrent_inferences: inferences, .. } = &state.config;
    let ready = state.lifecycle.readiness() == Readiness::Ready;
    let gauges = [
        ("derm_ready", "Whether /readyz says that requests should be sent.", f64::from(ready)),
        ("derm_inferences_running", "Inferences that run.", state.inferences.running() as f64),
        ("derm_inferences_limit", "Inferences that may run (THREADS).", inferences.get() as f64),
        ("derm_requests_waiting", "Requests that wait.", state.permits.waiting() as f64),
        (
            "derm_requests_waiting_limit",
            "Requests that may wait.",
            state.permits.max_waiting() as f64,
        ),
        ("derm_connections", "Connections that are open.", state.connections.count() as f64),
        (
            "derm_connections_limit",
            "Connections that may be open (MAX_CONNECTIONS).",
            state.connections.limit() as f64,
        ),
    ];
    for (name, help, value) in gauges {
        values.gauge(name, help, value)?;
    }
    let lost = lost_lines() as f64;
    values.counter(
        "derm_log_lines_lost_total",
        "Log lines that could not be written.",
        &[],
        lost,
    )?;
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    values.gauge_of("derm_build_info", "The version that runs; always 1.", &version, 1.0)
}

fn model(values: &Values, served: &Model) -> prometheus::Result<()> {
    let classifier = &served.classifier;
    let manifest = classifier.manifest();
    let model = [("model", served.name.as_str())];
    let digest = classifier.digest().map(|digest| digest.to_string()).unwrap_or_default();
    let info = [model[0], ("version", manifest.version.as_str()), ("digest", digest.as_str())];
    let help = "The model that is served; always 1. Its digest is known once it was loaded.";
    values.gauge_of("derm_model_info", help, &info, 1.0)?;
    let loaded = f64::from(classifier.is_loaded());
    values.gauge_of("derm_model_loaded", "Whether the model is in memory.", &model, loaded)?;
    let loads = classifier.times_loaded() as f64;
    values.counter("derm_model_loads_total", "Loads of the model.", &model, loads)?;
    let seconds = classifier.time_loading().as_secs_f64();
    let help = "Time that these loads took in all.";
    values.counter("derm_model_load_seconds_total", help, &model, seconds)?;
    if let Some(footprint) = classifier.footprint() {
        let (weights, arena) = (footprint.weights as f64, footprint.arena as f64);
        values.gauge_of("derm_model_weights_bytes", "Its packed weights.", &model, weights)?;
        let help = "The arena of one inference.";
        values.gauge_of("derm_model_arena_bytes", help, &model, arena)?;
    }
    let idle = classifier.idle_bytes() as f64;
    let help = "Arenas that are kept for a next prediction.";
    values.gauge_of("derm_model_idle_arenas_bytes", help, &model, idle)
}
