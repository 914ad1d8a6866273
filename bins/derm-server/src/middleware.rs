//! Middleware of every request: a limit on headers, a request id, a log line, and security headers.

use crate::answer_body::TrackedBody;
use crate::connections::Connection;
use crate::error::ApiError;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError};
use std::sync::Arc;
use std::time::Instant;

/// Bytes of names and values of all headers of a request.
const MAX_HEADERS: usize = 16 * 1024;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

/// Content Security Policy: only what the binary itself serves; `data:` and `blob:` are the heatmap
/// and the preview.
const CONTENT_POLICY: &str = "default-src 'none'; img-src 'self' data: blob:; style-src 'self'; \
                              script-src 'self'; connect-src 'self'; form-action 'self'; \
                              base-uri 'none'; frame-ancestors 'none'";

/// Limits the headers, gives the request an id, logs it, and sets the security headers.
pub(crate) async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let start = Instant::now();
    let id = request_id(&request);
    let connection = request.request().conn_data::<Arc<Connection>>().cloned();
    if let Some(connection) = &connection {
        connection.request();
    }
    let (method, path) = (request.method().clone(), request.path().to_owned());
    let mut response = if header_bytes(&request) > MAX_HEADERS {
        request.into_response(ApiError::HeadersTooLarge(MAX_HEADERS).error_response())
    } else {
        next.call(request).await?.map_into_boxed_body()
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (PERMISSIONS_POLICY, "camera=(self), microphone=(), geolocation=()"),
        (CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    let status = response.status().as_u16();
    tracing::info!(id, %method, path, status, milliseconds, "request");
    Ok(match connection {
        Some(connection) => {
            response.map_body(|_, body| BoxBody::new(TrackedBody::new(body, connection)))
        }
        None => response,
    })
}

/// The client's own id where it is valid, else a new one.
fn request_id(request: &ServiceRequest) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let is_valid = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    given.filter(is_valid).map_or_else(|| format!("{:016x}", fastrand::u64(..)), str::to_owned)
}

fn header_bytes(request: &ServiceRequest) -> usize {
    request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}
