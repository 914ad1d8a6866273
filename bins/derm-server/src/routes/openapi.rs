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

/// A page that shows it.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/docs/",
    tag = "page",
    responses((status = 200, description = "The page", body = String, content_type = "text/html")),
))]
pub(crate) async fn page() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::html()).body(include_str!("../page/api.html"))
}

/// The script of that page.
pub(crate) async fn script() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/javascript; charset=utf-8")
        .body(include_str!("../page/api.js"))
}
