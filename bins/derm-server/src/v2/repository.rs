//! The model repository extension: which models there are, and loading and unloading them. These two
//! are the administrator's, where there is one.

use super::types::{IndexEntry, IndexRequest};
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

/// `POST /v2/repository/index`.
pub(crate) async fn index(
    request: &HttpRequest,
    payload: Payload,
    state: &Data<State>,
) -> Result<HttpResponse, ApiError> {
    let until = deadline(state.config.timeout());
    let (body, _permit) = upload::receive_plain(request, payload, state, until).await?;
    let asked: IndexRequest = if body.trim_ascii().is_empty() {
        IndexRequest::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| {
            let reason = excerpt(&error.to_string());
            ApiError::BadRequest(format!("the body is not {{\"ready\": true or false}}: {reason}"))
        })?
    };
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
        entries.filter(|entry| !asked.ready || entry.state == "READY").collect();
    Ok(HttpResponse::Ok().json(listed))
}

/// `POST /v2/repository/models/{model}/load` loads what the model's paths lead to now, also in place of
/// one that is loaded; `/unload` unloads a model when its inferences have ended.
pub(crate) async fn change(
    request: &HttpRequest,
    state: &Data<State>,
    name: &str,
    loads: bool,
) -> Result<HttpResponse, ApiError> {
    state.access.check_admin(request.headers())?;
    let model = state.models.of_version(name, None)?;
    let work = async {
        if loads {
            return reload::reload(state, &model).await.map(drop);
        }
        models::unload(state, &model, deadline(state.config.timeout())).await
    };
    state.shutdown.or_cancelled(work).await?;
    Ok(HttpResponse::Ok().finish())
}
