//! Structured logs on stderr, one JSON object per line. Nothing of a picture is ever logged.

use anyhow::Context;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging what `filter` lets through: a level, or `target=level,...`.
pub(crate) fn start(filter: &str) -> anyhow::Result<()> {
    let filter: Targets = filter.parse().with_context(|| format!("RUST_LOG={filter:?}"))?;
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(lines).init();
    Ok(())
}
