//! Probes: whether the process answers, and whether requests should be sent here.

use crate::error::ErrorBody;
use crate::lifecycle::{Readiness, begin_to_check};
use crate::state::State;
use actix_web::HttpResponse;
use actix_web::http::header::ContentType;
use actix_web::web::Data;

/// Says `ok` as long as the process responds.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/livez",
    tag = "operations",
    responses((status = 200, description = "The process responds", body = String)),
))]
pub(crate) async fn live() -> &'static str {
    "ok"
}

/// Says `ok` when the model has been loaded and run once and the server is not about to stop. The first
/// call that finds the model unchecked has it checked.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/readyz",
    tag = "operations",
    responses((status = 200, description = "Requests should be sent", body = String)),
))]
pub(crate) async fn ready(state: Data<State>) -> HttpResponse {
    let reason = match state.lifecycle.readiness() {
        Readiness::Ready => {
            return HttpResponse::Ok().content_type(ContentType::plaintext()).body("ok");
        }
        Readiness::Draining => "the server is about to stop",
        Readiness::Unchecked => {
            begin_to_check(&state, state.models.default());
            "the model has not been checked yet; try again in a few seconds"
        }
    };
    HttpResponse::ServiceUnavailable().json(ErrorBody { error: reason.to_owned() })
}
