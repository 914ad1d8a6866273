//! Administration, for those who have the ADMIN_KEY.

use crate::error::ApiError;
use crate::parameters::Parameters;
use crate::reload;
use crate::state::State;
use actix_web::HttpRequest;
use actix_web::web::{Data, Json};
use derm::Digest;
use serde::Serialize;

/// What a reload has led to.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Reloaded {
    /// `ok`.
    status: &'static str,
    /// SHA-256 of the files of the model, the first of several; null where none is in memory.
    #[cfg_attr(test, schema(value_type = Option<String>))]
    digest: Option<Digest>,
}

/// Replaces each model by what its paths lead to now; `model` names one. Of several, those that are not in
/// memory are loaded by their next use. Without ADMIN_KEY there is no such path.
#[cfg_attr(test, utoipa::path(
    post,
    path = "/admin/reload",
    tag = "model",
    responses((status = 200, description = "The new model is served", body = Reloaded)),
))]
pub(crate) async fn reload(
    request: HttpRequest,
    state: Data<State>,
) -> Result<Json<Reloaded>, ApiError> {
    if state.access.admin_key.is_none() {
        return Err(ApiError::NotFound);
    }
    state.access.check_admin(request.headers())?;
    let parameters = Parameters::from_query(request.query_string())?;
    let digest = match parameters.model {
        Some(name) => Some(reload::reload(&state, state.models.named(Some(&name))?).await?),
        None => reload::reload_all(&state).await?,
    };
    Ok(Json(Reloaded { status: "ok", digest }))
}

/// Any other method.
pub(crate) async fn other_method(
    request: HttpRequest,
    state: Data<State>,
) -> Result<String, ApiError> {
    if state.access.admin_key.is_none() {
        return Err(ApiError::NotFound);
    }
    super::not_allowed(request, "POST").await
}
