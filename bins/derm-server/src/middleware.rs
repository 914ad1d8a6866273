//! Middleware of every request: a limit on headers, a request id, a log line, and security headers.

use crate::access::KeyName;
use crate::answer_body::TrackedBody;
use crate::connections::Connection;
use crate::error::ApiError;
use crate::half_closed::Peer;
use crate::state::State;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage, ResponseError};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Bytes of names and values of all headers of a request.
const MAX_HEADERS: usize = 16 * 1024;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
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
    let trace = trace_parent(request.headers())
        .map(|(trace, parent)| (trace.to_owned(), parent.to_owned()));
    let state = request.app_data::<Data<State>>().cloned();
    let state = state.as_ref();
    let mut response = if header_bytes(&request) > MAX_HEADERS {
        request.into_response(ApiError::HeadersTooLarge(MAX_HEADERS).error_response())
    } else {
        next.call(request).await?.map_into_boxed_body()
    };
    set_security_headers(response.headers_mut());
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let peer = response.request().conn_data::<Rc<Peer>>();
    if peer.is_some_and(|peer| peer.is_half_closed()) {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    let elapsed = start.elapsed();
    let milliseconds = elapsed.as_secs_f64() * 1e3;
    let status = response.status().as_u16();
    state.inspect(|state| state.metrics.request(&response, elapsed));
    if state.is_some_and(|state| state.lifecycle.is_draining()) {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    let extensions = response.request().extensions();
    let key = extensions.get::<KeyName>().map(|name| name.0.as_str());
    let (trace_id, parent_id) = trace.as_ref().map(|(trace, parent)| (trace, parent)).unzip();
    tracing::info!(id, %method, path, status, milliseconds, key, trace_id, parent_id, "request");
    drop(extensions);
    Ok(match connection {
        Some(connection) => {
            response.map_body(|_, body| BoxBody::new(TrackedBody::new(body, connection)))
        }
        None => response,
    })
}

/// Sets the headers that every answer has.
pub(crate) fn set_security_headers(headers: &mut HeaderMap) {
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (PERMISSIONS_POLICY, "camera=(self), microphone=(), geolocation=()"),
        (CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Trace and span of the caller (`traceparent`, W3C Trace Context).
fn trace_parent(headers: &HeaderMap) -> Option<(&str, &str)> {
    let value = headers.get(TRACE_PARENT)?.to_str().ok()?;
    let mut parts = value.split('-');
    let (version, trace, parent) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length| {
        text.len() == length
            && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let is_set = |text: &str| text.bytes().any(|digit| digit != b'0');
    let is_valid = is_hex(version, 2)
        && version != "ff"
        && is_hex(trace, 32)
        && is_hex(parent, 16)
        && is_hex(parts.next()?, 2)
        && is_set(trace)
        && is_set(parent);
    is_valid.then_some((trace, parent))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_logged_where_its_header_is_valid() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(TRACE_PARENT, HeaderValue::from_str(value).unwrap());
            trace_parent(&headers).map(|(trace, parent)| format!("{trace} {parent}"))
        };
        let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        assert_eq!(of(&format!("00-{trace}-{parent}-01")), Some(format!("{trace} {parent}")));
        assert_eq!(of(&format!("cc-{trace}-{parent}-01-more")), Some(format!("{trace} {parent}")));
        let none = "0".repeat(32);
        for bad in [
            String::new(),
            format!("00-{trace}-{parent}"),
            format!("ff-{trace}-{parent}-01"),
            format!("00-{none}-{parent}-01"),
            format!("00-{}-{parent}-01", trace.to_uppercase()),
            format!("00-{trace}0-{parent}-01"),
        ] {
            assert_eq!(of(&bad), None, "{bad}");
        }
    }
}
