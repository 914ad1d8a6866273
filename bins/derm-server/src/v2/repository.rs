//! The model repository extension: which models there are, and loading and unloading them. These two
//! are the administrator's, where there is one.

use super::types::IndexEntry;
use crate::bounded::Fields;
use crate::error::ApiError;
use crate::excerpt::excerpt;
use crate::models::{self, Availability, Model};
use crate::permits::deadline;
use crate::reload;
use crate::state::State;
use crate::upload;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use std::sync::Arc;

/// All models with their state.
#[cfg_attr(test, utoipa::path(
    post,
    path = "/v2/repository/index",
    tag = "v2",
    responses((status = 200, description = "The models", body = Vec<IndexEntry>)),
))]
pub(crate) async fn index(
    request: &HttpRequest,
    payload: Payload,
    state: &Data<State>,
) -> Result<HttpResponse, ApiError> {
    let until = deadline(state.config.timeout());
    let (body, _permit) = upload::receive_plain(request, payload, state, until).await?;
    let asked: Fields<'_> = if body.is_empty() {
        Fields::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| {
            let reason = excerpt(&error.to_string());
            ApiError::BadRequest(format!("the body is not {{\"ready\": true or false}}: {reason}"))
        })?
    };
    let only_ready = asked.get("ready")?.unwrap_or(false);
    let entry = |model: &Arc<Model>| {
        let (state, reason) = match model.availability() {
            Availability::Ready => ("READY", ""),
            Availability::Unchecked => ("UNAVAILABLE", "not loaded yet: the first use loads it"),
            Availability::Unloaded => ("UNAVAILABLE", "unloaded: the next use loads it"),
        };
        IndexEntry { name: model.name.clone(), version: model.version(), state, reason }
    };
    let entries = state.models.all().iter().map(entry);
    let listed: Vec<IndexEntry> =
        entries.filter(|entry| !only_ready || entry.state == "READY").collect();
    Ok(HttpResponse::Ok().json(listed))
}

/// Loads what the model's paths lead to now, also in place of one that is loaded.
#[cfg_attr(test, utoipa::path(
    post,
    path = "/v2/repository/models/{model}/load",
    tag = "v2",
    responses((status = 200, description = "It is loaded")),
))]
pub(crate) async fn load(
    request: &HttpRequest,
    state: &Data<State>,
    name: &str,
) -> Result<HttpResponse, ApiError> {
    let model = model(request, state, name)?;
    state.shutdown.or_cancelled(reload::reload(state, &model)).await?;
    Ok(HttpResponse::Ok().finish())
}

/// Unloads a model when its inferences have ended; the next use loads it again.
#[cfg_attr(test, utoipa::path(
    post,
    path = "/v2/repository/models/{model}/unload",
    tag = "v2",
    responses((status = 200, description = "It is unloaded")),
))]
pub(crate) async fn unload(
    request: &HttpRequest,
    state: &Data<State>,
    name: &str,
) -> Result<HttpResponse, ApiError> {
    let model = model(request, state, name)?;
    let work = models::unload(state, &model, deadline(state.config.timeout()));
    state.shutdown.or_cancelled(work).await?;
    Ok(HttpResponse::Ok().finish())
}

/// The model of this name, for its administrator.
fn model(request: &HttpRequest, state: &State, name: &str) -> Result<Arc<Model>, ApiError> {
    state.access.check_admin(request.headers())?;
    state.models.of_version(name, None)
}
