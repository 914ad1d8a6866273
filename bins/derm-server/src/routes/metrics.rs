//! Metrics in Prometheus' text format.

use crate::error::ApiError;
use crate::state::State;
use actix_web::HttpResponse;
use actix_web::web::Data;
use prometheus::TEXT_FORMAT;

/// Metrics for Prometheus, in its text format. Not there where METRICS_PORT answers it.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/metrics",
    tag = "operations",
    responses((status = 200, description = "Metrics", body = String)),
))]
pub(crate) async fn metrics(state: Data<State>) -> Result<HttpResponse, ApiError> {
    if state.config.metrics_port.is_some() {
        return Err(ApiError::NotFound);
    }
    scrape(state).await
}

/// `GET /metrics` on METRICS_PORT.
pub(crate) async fn scrape(state: Data<State>) -> Result<HttpResponse, ApiError> {
    let text = state.metrics.text(&state).map_err(|error| {
        tracing::error!(%error, "metrics");
        ApiError::Internal
    })?;
    Ok(HttpResponse::Ok().content_type(TEXT_FORMAT).body(text))
}
