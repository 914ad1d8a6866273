//! Routes: one file per resource.

mod admin;
mod health;
mod memory;
mod model;
mod page;
mod predict;
mod probes;

use crate::error::ApiError;
use actix_web::HttpRequest;
use actix_web::web::{self, ServiceConfig};

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
            .default_service(web::to(not_found)),
    );
    let mut get = |path: &str, route: fn() -> actix_web::Route| {
        config.service(
            web::resource(path)
                .route(route())
                .default_service(web::to(|request| not_allowed(request, "GET"))),
        );
    };
    get("/health", || web::get().to(health::health));
    get("/livez", || web::get().to(probes::live));
    get("/readyz", || web::get().to(probes::ready));
    get("/memory", || web::get().to(memory::memory));
    get("/model", || web::get().to(model::model));
    get("/", || web::get().to(page::index));
    get("/style.css", || web::get().to(page::style));
    get("/app.js", || web::get().to(page::script));
    get("/example.jpg", || web::get().to(page::example));
    config.default_service(web::to(not_found));
}

async fn not_allowed(request: HttpRequest, allowed: &'static str) -> Result<String, ApiError> {
    let method: String = request.method().as_str().chars().take(20).collect();
    Err(ApiError::MethodNotAllowed { method, allowed })
}

async fn not_found() -> Result<String, ApiError> {
    Err(ApiError::NotFound)
}
