//! Administration, for those who have the ADMIN_KEY.

use crate::access;
use crate::error::ApiError;
use crate::reload;
use crate::state::State;
use actix_web::HttpRequest;
use actix_web::web::{Data, Json};
use serde_json::{Value, json};

/// `POST /admin/reload`: replaces the model by what its paths lead to now.
pub(crate) async fn reload(
    request: HttpRequest,
    state: Data<State>,
) -> Result<Json<Value>, ApiError> {
    let Some(key) = &state.access.admin_key else { return Err(ApiError::NotFound) };
    if !access::given_key(request.headers()).is_some_and(|given| key.matches(given)) {
        return Err(ApiError::Unauthorized);
    }
    let digest = reload::reload(&state).await?;
    Ok(Json(json!({ "status": "ok", "digest": digest })))
}
