//! The web page and its assets, all embedded in the binary.

use crate::html;
use crate::parameters::Parameters;
use actix_web::http::header::ContentType;
use actix_web::{HttpRequest, HttpResponse};

/// The page; `?lang=vi` or `?lang=en` chooses the language.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/",
    tag = "page",
    responses((status = 200, description = "The page", body = String, content_type = "text/html")),
))]
pub(crate) async fn index(request: HttpRequest) -> HttpResponse {
    let parameters = Parameters::from_query(request.query_string()).unwrap_or_default();
    let language = html::Language::of(&request, parameters.lang.as_deref());
    HttpResponse::Ok().content_type(ContentType::html()).body(html::page(language))
}

pub(crate) async fn style() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/css; charset=utf-8")
        .body(include_str!("../page/style.css"))
}

pub(crate) async fn script() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/javascript; charset=utf-8")
        .body(include_str!("../page/app.js"))
}

/// A drawing of a lesion, to try the page with.
pub(crate) async fn example() -> HttpResponse {
    HttpResponse::Ok().content_type("image/jpeg").body(&include_bytes!("../page/example.jpg")[..])
}
