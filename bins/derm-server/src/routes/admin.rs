//! Administration, for those who have the ADMIN_KEY.

use crate::error::ApiError;
use crate::parameters::Parameters;
use crate::reload;
use crate::state::State;
use actix_web::HttpRequest;
use actix_web::web::{Data, Json};
use derm::Digest;
use serde::Serialize;

/// The answer to a reload.
#[derive(Debug, Serialize)]
pub(crate) struct Reloaded {
    /// `ok`.
    status: &'static str,
    /// SHA-256 of the files of the model, the first of several; null where none is in memory.
    digest: Option<Digest>,
}

/// `POST /admin/reload`: replaces each model by what its paths lead to now; `?model=` names one.
/// Of several, those that are not in memory are loaded by their next use.
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
