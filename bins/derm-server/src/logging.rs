//! Structured logs on stderr, one JSON object per line. Nothing of a picture is ever logged.

use anyhow::Context;
use tracing_subscriber::EnvFilter;

pub(crate) fn start(filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).with_context(|| format!("RUST_LOG={filter:?}"))?;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .init();
    Ok(())
}
