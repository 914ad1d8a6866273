//! Access: who may ask for predictions, from which pages, and how often.
//!
//! Probes, the API's description and the page's own files stay open: a browser asks for the key only when it sends a picture.

mod keys;
mod rate;

pub(crate) use rate::RateLimit;

use crate::clients::ClientAddress;
use crate::config::Config;
use crate::error::ApiError;
use crate::html;
use crate::state::State;
use crate::v2;
use actix_cors::Cors;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    AUTHORIZATION, CONTENT_TYPE, ContentType, HeaderMap, HeaderName, RETRY_AFTER,
};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage, HttpResponse, ResponseError};
use keys::{ApiKeys, KeyHash, given_key};
use rate::RateLimiter;

/// Paths that need no key and have no limit on their rate.
const OPEN: [&str; 13] = [
    "/",
    "/style.css",
    "/app.js",
    "/example.jpg",
    "/health",
    "/livez",
    "/readyz",
    "/v2/health/live",
    "/v2/health/ready",
    "/openapi.json",
    "/docs",
    "/api.js",
    "/admin/reload",
];

/// Whether a path needs no key; without its trailing slash.
#[cfg(test)]
pub(crate) fn is_open(path: &str) -> bool {
    path.is_empty() || OPEN.contains(&path)
}

/// The configured rules.
#[derive(Debug)]
pub(crate) struct Access {
    /// `None`: no key is needed.
    keys: Option<ApiKeys>,
    /// `None`: there is no administrator.
    pub(crate) admin_key: Option<KeyHash>,
    rate: Option<RateLimiter>,
}

/// The name of the key that a request was sent with, for its log line.
#[derive(Debug, Clone)]
pub(crate) struct KeyName(pub(crate) String);

impl Access {
    /// Reads the file of keys.
    ///
    /// # Errors
    /// If it cannot be read, or is malformed.
    pub(crate) fn new(config: &Config) -> anyhow::Result<Access> {
        let keys = config.api_keys_file.as_deref().map(ApiKeys::read).transpose()?;
        let admin_key = config.admin_key.as_ref().map(|key| KeyHash::of(key.reveal()));
        Ok(Access { keys, admin_key, rate: config.rate_limit.map(RateLimiter::new) })
    }

    /// Lets a request pass that only an administrator may send; anybody, where there is no ADMIN_KEY.
    ///
    /// # Errors
    /// [`ApiError::Unauthorized`].
    pub(crate) fn check_admin(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        match &self.admin_key {
            Some(key) if !given_key(headers).is_some_and(|given| key.matches(given)) => {
                Err(ApiError::Unauthorized)
            }
            _ => Ok(()),
        }
    }

    /// Whether a path needs no other key and has no limit: it is open, or the administrator's.
    fn is_open(&self, path: &str) -> bool {
        let is_repository = path.starts_with("/v2/repository/models/");
        OPEN.contains(&path) || is_repository && self.admin_key.is_some()
    }

    /// Lets a request pass; the name of its key, where one is needed.
    fn check(
        &self,
        path: &str,
        headers: &HeaderMap,
        client: ClientAddress,
    ) -> Result<Option<KeyName>, ApiError> {
        if self.is_open(path) {
            return Ok(None);
        }
        // First, so that keys cannot be tried out quickly either.
        if let Some(rate) = &self.rate {
            rate.check(client)?;
        }
        let Some(keys) = &self.keys else { return Ok(None) };
        let name = given_key(headers).and_then(|key| keys.name_of(key));
        name.map(|name| Some(KeyName(name.to_owned()))).ok_or(ApiError::Unauthorized)
    }
}

/// Middleware: refuses requests that the rules do not let pass.
pub(crate) async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let checked = request.app_data::<Data<State>>().map_or(Ok(None), |state| {
        let client = state.client_address(request.request());
        state.access.check(request.path(), request.headers(), client)
    });
    match checked {
        Ok(name) => {
            if let Some(name) = name {
                request.extensions_mut().insert(name);
            }
            Ok(next.call(request).await?.map_into_boxed_body())
        }
        Err(error) => {
            let response = refusal(&request, &error);
            Ok(request.into_response(response))
        }
    }
}

/// A page for a browser, else JSON.
fn refusal(request: &ServiceRequest, error: &ApiError) -> HttpResponse {
    if !html::wants_page(request.headers()) {
        return error.error_response();
    }
    let language = html::Language::of(request.request(), None);
    let page = html::error_page(language, &error.to_string());
    error.empty_response().content_type(ContentType::html()).body(page)
}

/// Middleware: answers to pages of the origins in CORS_ORIGINS may be read by them.
pub(crate) fn cors(config: &Config) -> Cors {
    const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
    const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
    const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
    let cors = Cors::default()
        .allowed_methods(["GET", "HEAD", "POST"])
        .allowed_headers([
            AUTHORIZATION,
            CONTENT_TYPE,
            keys::API_KEY,
            REQUEST_ID,
            TRACE_PARENT,
            v2::HEADER_LENGTH,
        ])
        .expose_headers([REQUEST_ID, SERVER_TIMING, RETRY_AFTER, v2::HEADER_LENGTH])
        .max_age(600);
    let origins = config.cors_origins();
    if origins == ["*"] {
        return cors.allow_any_origin().send_wildcard();
    }
    origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}
