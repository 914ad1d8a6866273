//! Administration, for those who have the ADMIN_KEY.

use crate::access;
use crate::error::ApiError;
use crate::reload;
use crate::state::State;
use actix_web::HttpRequest;
use actix_web::web::{Data, Json};
use derm::Digest;
use serde::Serialize;

/// The model that is served now.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Reloaded {
    /// `ok`.
    status: &'static str,
    /// SHA-256 of the model's files.
    #[cfg_attr(test, schema(value_type = String))]
    digest: Digest,
}

/// Replaces the model by what its paths lead to now. Without ADMIN_KEY there is no such path.
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
    let Some(key) = &state.access.admin_key else { return Err(ApiError::NotFound) };
    if !access::given_key(request.headers()).is_some_and(|given| key.matches(given)) {
        return Err(ApiError::Unauthorized);
    }
    let digest = reload::reload(&state).await?;
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
