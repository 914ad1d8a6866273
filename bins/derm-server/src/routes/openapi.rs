//! The description of the API.

use actix_web::HttpResponse;
use actix_web::http::header::ContentType;

/// OpenAPI 3.1; generated from the types that serve, by the tests of `src/openapi/`.
const DOCUMENT: &str = include_str!("../../openapi.json");

/// This description.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operations",
    responses((status = 200, description = "An OpenAPI 3.1 document", body = serde_json::Value)),
))]
pub(crate) async fn document() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(DOCUMENT)
}
