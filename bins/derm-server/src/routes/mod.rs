//! Routes: one file per resource.

pub(crate) mod admin;
pub(crate) mod health;
pub(crate) mod memory;
pub(crate) mod metrics;
pub(crate) mod model;
pub(crate) mod openapi;
pub(crate) mod page;
pub(crate) mod predict;
pub(crate) mod probes;

pub(crate) use model::description;

use crate::error::ApiError;
use crate::excerpt::excerpt;
use crate::{v1, v2};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, Route, guard};
use percent_encoding::percent_decode_str;

/// Registers every path. The three of predictions are the original application's.
pub(crate) fn configure(config: &mut ServiceConfig) {
    for path in ["/predict", "/upload", "/upload/file"] {
        config.service(
            web::resource(path)
                .route(web::post().to(predict::predict))
                .default_service(web::to(|request| not_allowed(request, "POST"))),
        );
    }
    config.service(
        web::resource("/admin/reload")
            .route(web::post().to(admin::reload))
            .default_service(web::to(admin::other_method)),
    );
    let mut get = |path: &str, route: fn(Route) -> Route| {
        // The protocol layer leaves the body of an answer to HEAD out.
        let is_read = guard::Any(guard::Get()).or(guard::Head());
        config.service(
            web::resource(path)
                .route(route(web::route().guard(is_read)))
                .default_service(web::to(|request| not_allowed(request, "GET, HEAD"))),
        );
    };
    get("/health", |get| get.to(health::health));
    get("/livez", |get| get.to(probes::live));
    get("/readyz", |get| get.to(probes::ready));
    get("/memory", |get| get.to(memory::memory));
    get("/metrics", |get| get.to(metrics::metrics));
    get("/openapi.json", |get| get.to(openapi::document));
    get("/model", |get| get.to(model::model));
    get("/", |get| get.to(page::index));
    get("/style.css", |get| get.to(page::style));
    get("/app.js", |get| get.to(page::script));
    get("/docs", |get| get.to(openapi::page));
    get("/api.js", |get| get.to(openapi::script));
    get("/example.jpg", |get| get.to(page::example));
    config.configure(v1::configure).configure(v2::configure);
    config.default_service(web::to(not_found));
}

/// Methods of paths that only tell something.
pub(crate) const READ: &str = "GET, HEAD";

/// Refuses a request whose method is none of these.
///
/// # Errors
/// [`ApiError::MethodNotAllowed`].
pub(crate) fn check_method(request: &HttpRequest, allowed: &'static str) -> Result<(), ApiError> {
    if allowed.split(", ").any(|method| method == request.method().as_str()) {
        return Ok(());
    }
    Err(ApiError::MethodNotAllowed { method: excerpt(request.method().as_str()), allowed })
}

/// The segments of a request's path below the first, decoded. Paths that name models are matched by these:
/// patterns of the router would be regular expressions, whose code alone takes half a MiB.
pub(crate) fn segments(request: &HttpRequest) -> Vec<String> {
    /// More than any path has.
    const MOST: usize = 16;
    let segments =
        request.path().split('/').filter(|segment| !segment.is_empty()).take(MOST).skip(1);
    segments.map(|text| percent_decode_str(text).decode_utf8_lossy().into_owned()).collect()
}

/// Registers what METRICS_PORT answers.
pub(crate) fn configure_metrics(config: &mut ServiceConfig) {
    config.route("/metrics", web::get().to(metrics::scrape)).default_service(web::to(not_found));
}

async fn not_allowed(request: HttpRequest, allowed: &'static str) -> Result<String, ApiError> {
    let method = excerpt(request.method().as_str());
    Err(ApiError::MethodNotAllowed { method, allowed })
}

async fn not_found() -> Result<String, ApiError> {
    Err(ApiError::NotFound)
}
