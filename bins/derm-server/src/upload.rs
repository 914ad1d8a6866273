//! The picture and the parameters of a request, whichever way they are sent.

use crate::error::ApiError;
use crate::parameters::{MAX_VALUE, Parameters};
use crate::permits::{UploadPermit, deadline};
use crate::state::State;
use actix_multipart::Multipart;
use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use actix_web::web::{Bytes, Payload};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use futures_util::{Stream, StreamExt};

/// Parts that a form may have.
const MAX_FIELDS: usize = 64;
/// What a form or JSON body may hold beside the picture.
const MARGIN: usize = 16 * 1024;

/// A picture that has arrived, and what is wanted of it.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) picture: Vec<u8>,
    pub(crate) parameters: Parameters,
    /// Held as long as the bytes are.
    pub(crate) permit: UploadPermit,
}

/// Reads a request's picture and parameters. The body is not touched before there is room for
/// it, and reading ends after UPLOAD_SECONDS.
pub(crate) async fn receive(
    request: &HttpRequest,
    payload: Payload,
    state: &State,
) -> Result<Upload, ApiError> {
    let parameters = Parameters::from_query(request.query_string())?;
    let largest = largest_body(state.config.max_upload_bytes);
    let length = content_length(request.headers())?;
    if length.is_some_and(|length| length > largest) {
        return Err(ApiError::UploadTooLarge(state.config.max_upload_bytes));
    }
    let permit = state.permits.upload(length, deadline(state.config.timeout())).await?;
    let reading = read(request, payload, parameters, state.config.max_upload_bytes);
    let read = tokio::time::timeout(state.config.upload_time(), reading).await;
    let (picture, parameters) = read.map_err(|_| ApiError::UploadTooSlow)??;
    if picture.is_empty() {
        return Err(ApiError::BadRequest(NO_PICTURE.to_owned()));
    }
    Ok(Upload { picture, parameters, permit })
}

const NO_PICTURE: &str = "there is no picture; send it as the multipart field `image`, as a data \
                          URL in the form field `image`, as JSON {\"image\": \"<base64>\"}, or as \
                          the body with an image/* type";

/// Base64 needs a third more than the picture.
fn largest_body(max_upload: usize) -> usize {
    max_upload.div_ceil(3) * 4 + MARGIN
}

fn content_length(headers: &HeaderMap) -> Result<Option<usize>, ApiError> {
    let Some(value) = headers.get(CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|value| value.parse().ok());
    length
        .map(Some)
        .ok_or_else(|| ApiError::BadRequest("Content-Length is not a number".to_owned()))
}

async fn read(
    request: &HttpRequest,
    payload: Payload,
    mut parameters: Parameters,
    max_upload: usize,
) -> Result<(Vec<u8>, Parameters), ApiError> {
    let length = content_length(request.headers())?;
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let picture = match kind.as_str() {
        "multipart/form-data" => {
            let form = Multipart::new(request.headers(), payload);
            read_multipart(form, &mut parameters, max_upload, length).await?
        }
        "application/x-www-form-urlencoded" => {
            let body = read_all(payload, largest_body(max_upload), max_upload, length).await?;
            let mut picture = Vec::new();
            for (name, value) in form_urlencoded::parse(&body).take(MAX_FIELDS) {
                match &*name {
                    // A `+` that a client forgot to escape has become a space.
                    "image" => picture = from_base64(&value.replace(' ', "+"), max_upload)?,
                    name => parameters.set(name, &value)?,
                }
            }
            picture
        }
        "application/json" => {
            let body = read_all(payload, largest_body(max_upload), max_upload, length).await?;
            read_json(&body, &mut parameters, max_upload)?
        }
        kind if kind.starts_with("image/") || kind == "application/octet-stream" => {
            read_all(payload, max_upload, max_upload, length).await?
        }
        "" => return Err(ApiError::BadRequest(NO_PICTURE.to_owned())),
        kind => {
            let kind: String = kind.chars().take(80).collect();
            let message = format!("a body of type {kind:?} is not read here; {NO_PICTURE}");
            return Err(ApiError::UnsupportedMediaType(message));
        }
    };
    Ok((picture, parameters))
}

async fn read_multipart(
    mut form: Multipart,
    parameters: &mut Parameters,
    max_upload: usize,
    length: Option<usize>,
) -> Result<Vec<u8>, ApiError> {
    let mut picture = Vec::new();
    let mut fields = 0;
    while let Some(field) = form.next().await {
        let mut field = field.map_err(|error| malformed(&error))?;
        fields += 1;
        if fields > MAX_FIELDS {
            return Err(ApiError::BadRequest(format!(
                "the form has more than {MAX_FIELDS} fields"
            )));
        }
        let name = field.name().unwrap_or_default().to_owned();
        if name == "image" {
            let bytes = read_all(&mut field, largest_body(max_upload), max_upload, length).await?;
            picture = as_picture(bytes, max_upload)?;
        } else {
            let bytes = read_all(&mut field, MAX_VALUE, MAX_VALUE, None).await?;
            parameters.set(&name, &String::from_utf8_lossy(&bytes))?;
        }
    }
    Ok(picture)
}

/// A file's bytes as they are; a text field's data URL decoded.
fn as_picture(bytes: Vec<u8>, max_upload: usize) -> Result<Vec<u8>, ApiError> {
    if bytes.starts_with(b"data:") {
        return from_base64(&String::from_utf8_lossy(&bytes), max_upload);
    }
    if bytes.len() > max_upload {
        return Err(ApiError::UploadTooLarge(max_upload));
    }
    Ok(bytes)
}

/// All chunks of a body or of a form's field, up to `limit` bytes; `said` is the limit that the
/// client is told, `announced` the length that it told.
async fn read_all<E: std::fmt::Display>(
    mut chunks: impl Stream<Item = Result<Bytes, E>> + Unpin,
    limit: usize,
    said: usize,
    announced: Option<usize>,
) -> Result<Vec<u8>, ApiError> {
    // As much as was asked for and granted: a list that grows as it goes would hold up to twice
    // that, and for a moment three times.
    let mut bytes = Vec::with_capacity(announced.unwrap_or(0).min(limit));
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| malformed(&error))?;
        if bytes.len() + chunk.len() > limit {
            return Err(ApiError::UploadTooLarge(said));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// `{"image": "<base64 or data URL>", "top_k": 3, ...}`
fn read_json(
    body: &[u8],
    parameters: &mut Parameters,
    max_upload: usize,
) -> Result<Vec<u8>, ApiError> {
    use serde_json::{Map, Value};
    let object: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| ApiError::BadRequest(format!("the body is not a JSON object: {error}")))?;
    let mut picture = Vec::new();
    for (name, value) in object {
        match (name.as_str(), value) {
            ("image", Value::String(text)) => picture = from_base64(&text, max_upload)?,
            ("image", _) => {
                let message = "\"image\" must be a string: base64 or a data URL";
                return Err(ApiError::BadRequest(message.to_owned()));
            }
            (name, Value::String(text)) => parameters.set(name, &text)?,
            (_, Value::Null) => {}
            (name, value) => parameters.set(name, &value.to_string())?,
        }
    }
    Ok(picture)
}

/// Decodes base64, bare or in a data URL (RFC 2397); white space is skipped.
fn from_base64(text: &str, max_upload: usize) -> Result<Vec<u8>, ApiError> {
    let bad =
        |reason: &str| ApiError::BadRequest(format!("the picture is not valid base64: {reason}"));
    let data = match text.trim_start().strip_prefix("data:") {
        Some(url) => {
            let (kind, data) =
                url.split_once(',').ok_or_else(|| bad("a data URL needs a comma"))?;
            if !kind.ends_with(";base64") {
                return Err(bad("a data URL must say ;base64"));
            }
            data
        }
        None => text,
    };
    let data: Vec<u8> = data.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if data.len() / 4 * 3 > max_upload + 3 {
        return Err(ApiError::UploadTooLarge(max_upload));
    }
    let engine = if data.ends_with(b"=") { STANDARD } else { STANDARD_NO_PAD };
    engine.decode(data).map_err(|error| bad(&error.to_string()))
}

fn malformed(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::BadRequest(format!("the body cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_bare_padded_wrapped_or_in_a_data_url() {
        for text in ["aGVsbG8=", "aGVsbG8", "aGVs\r\nbG8=", "data:image/png;base64,aGVsbG8="] {
            assert_eq!(from_base64(text, 100).unwrap(), b"hello", "{text}");
        }
        for text in ["data:image/png,hello", "data:;base64", "a$b", "a"] {
            assert!(matches!(from_base64(text, 100), Err(ApiError::BadRequest(_))), "{text}");
        }
        assert!(matches!(from_base64(&"A".repeat(400), 100), Err(ApiError::UploadTooLarge(100))));
    }
}
