//! Uploads: the picture and the parameters of a request, in whichever form they are sent.

use crate::data_url;
use crate::error::ApiError;
use crate::intake::{Intake, malformed};
use crate::parameters::{MAX_VALUE, Parameters};
use crate::permits::{UploadPermit, deadline};
use crate::state::State;
use actix_multipart::Multipart;
use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use actix_web::web::{Bytes, Payload};
use futures_util::Stream;
use serde::Deserialize;
use std::borrow::Cow;
use std::ops::Range;

/// Parts that a form may have.
const MAX_FIELDS: usize = 64;
/// Bytes that a form or JSON body may hold beside the picture.
const MARGIN: usize = 16 * 1024;

/// A picture that has arrived, and the parameters of its request.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) picture: Vec<u8>,
    pub(crate) parameters: Parameters,
    /// Held as long as the bytes are.
    pub(crate) permit: UploadPermit,
}

/// Reads a request's picture and parameters. Memory is granted as bytes arrive; an announced length
/// only limits. Reading ends after UPLOAD_SECONDS, or when the client is too slow.
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
    let deadline = deadline(state.config.timeout());
    let mut intake = Intake::new(&state.permits, state.config.upload_time(), deadline);
    let max_upload = state.config.max_upload_bytes;
    let (picture, parameters) = read(request, payload, parameters, max_upload, &mut intake).await?;
    if picture.is_empty() {
        return Err(ApiError::BadRequest(NO_PICTURE.to_owned()));
    }
    Ok(Upload { picture, parameters, permit: intake.into_permit() })
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
    intake: &mut Intake<'_>,
) -> Result<(Vec<u8>, Parameters), ApiError> {
    let length = content_length(request.headers())?;
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let picture = match kind.as_str() {
        "multipart/form-data" => {
            let form = Multipart::new(request.headers(), payload);
            read_multipart(form, &mut parameters, max_upload, length, intake).await?
        }
        "application/x-www-form-urlencoded" => {
            let body =
                read_all(payload, largest_body(max_upload), max_upload, length, intake).await?;
            read_form(body, &mut parameters, max_upload)?
        }
        "application/json" => {
            let body =
                read_all(payload, largest_body(max_upload), max_upload, length, intake).await?;
            read_json(body, &mut parameters, max_upload)?
        }
        kind if kind.starts_with("image/") || kind == "application/octet-stream" => {
            read_all(payload, max_upload, max_upload, length, intake).await?
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
    intake: &mut Intake<'_>,
) -> Result<Vec<u8>, ApiError> {
    let mut picture = Vec::new();
    let mut fields = 0;
    while let Some(field) = intake.next(&mut form).await? {
        let mut field = field.map_err(|error| malformed(&error))?;
        fields += 1;
        if fields > MAX_FIELDS {
            return Err(too_many_fields());
        }
        let name = field.name().unwrap_or_default().to_owned();
        if name == "image" {
            let limit = largest_body(max_upload);
            let bytes = read_all(&mut field, limit, max_upload, length, intake).await?;
            picture = as_picture(bytes, max_upload)?;
        } else {
            let bytes = read_all(&mut field, MAX_VALUE, MAX_VALUE, None, intake).await?;
            parameters.set(&name, &String::from_utf8_lossy(&bytes))?;
        }
    }
    Ok(picture)
}

/// A file's bytes as they are; a text field's data URL decoded.
fn as_picture(bytes: Vec<u8>, max_upload: usize) -> Result<Vec<u8>, ApiError> {
    if bytes.starts_with(b"data:") {
        let all = 0..bytes.len();
        return data_url::decode(bytes, all, max_upload);
    }
    if bytes.len() > max_upload {
        return Err(ApiError::UploadTooLarge(max_upload));
    }
    Ok(bytes)
}

/// Collects the chunks of a body or of a form's field, up to `limit` bytes; `told` is the limit that
/// the client is told, `announced` the length that it announced.
async fn read_all<E: std::fmt::Display>(
    mut chunks: impl Stream<Item = Result<Bytes, E>> + Unpin,
    limit: usize,
    told: usize,
    announced: Option<usize>,
    intake: &mut Intake<'_>,
) -> Result<Vec<u8>, ApiError> {
    // Address space for all of it at once, of which the system backs what is written: a vector that
    // grows would hold up to twice the bytes that were granted, and three times while it is copied.
    let mut bytes = Vec::with_capacity(announced.unwrap_or(limit).min(limit));
    while let Some(chunk) = intake.chunk(&mut chunks).await? {
        if bytes.len() + chunk.len() > limit {
            return Err(ApiError::UploadTooLarge(told));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// `image=<escaped base64 or data URL>&top_k=3&...`
fn read_form(
    mut body: Vec<u8>,
    parameters: &mut Parameters,
    max_upload: usize,
) -> Result<Vec<u8>, ApiError> {
    const PICTURE: &[u8] = b"image=";
    let (mut image, mut start) = (None, 0);
    for (index, field) in body.split(|&byte| byte == b'&').enumerate() {
        if index == MAX_FIELDS {
            return Err(too_many_fields());
        }
        if field.starts_with(PICTURE) {
            image = Some(start + PICTURE.len()..start + field.len());
        } else {
            for (name, value) in form_urlencoded::parse(field) {
                parameters.set(&name, &value)?;
            }
        }
        start += field.len() + 1;
    }
    let Some(image) = image else { return Ok(Vec::new()) };
    let text = unescape(&mut body, image);
    data_url::decode(body, text, max_upload)
}

/// Undoes percent-encoding in place; returns the range of the text. A `+` stays: base64 has it, and
/// no space, and clients forget to escape it.
fn unescape(buffer: &mut [u8], escaped: Range<usize>) -> Range<usize> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (mut read, mut written) = (escaped.start, escaped.start);
    while read < escaped.end {
        let byte = match buffer[read..escaped.end] {
            [b'%', high, low, ..] => digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        buffer[written] = byte.unwrap_or(buffer[read]);
        read += if byte.is_some() { 3 } else { 1 };
        written += 1;
    }
    escaped.start..written
}

/// `{"image": "<base64 or data URL>", "top_k": 3, ...}`
fn read_json(
    body: Vec<u8>,
    parameters: &mut Parameters,
    max_upload: usize,
) -> Result<Vec<u8>, ApiError> {
    use serde_json::{Map, Value};

    #[derive(Deserialize)]
    struct Object<'a> {
        /// Borrowed from the body, unless something in it is escaped.
        #[serde(borrow, default)]
        image: Cow<'a, str>,
        #[serde(flatten)]
        others: Map<String, Value>,
    }
    let object: Object = serde_json::from_slice(&body).map_err(|error| {
        let message = "the body is not a JSON object whose \"image\" is base64 or a data URL";
        ApiError::BadRequest(format!("{message}: {error}"))
    })?;
    for (name, value) in object.others {
        match value {
            Value::String(text) => parameters.set(&name, &text)?,
            Value::Null => {}
            value => parameters.set(&name, &value.to_string())?,
        }
    }
    match object.image {
        Cow::Borrowed("") => Ok(Vec::new()),
        Cow::Borrowed(text) => {
            let start = text.as_ptr().addr() - body.as_ptr().addr();
            let range = start..start + text.len();
            data_url::decode(body, range, max_upload)
        }
        Cow::Owned(text) => {
            drop(body);
            let all = 0..text.len();
            data_url::decode(text.into_bytes(), all, max_upload)
        }
    }
}

fn too_many_fields() -> ApiError {
    ApiError::BadRequest(format!("the form has more than {MAX_FIELDS} fields"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(body: &str) -> Result<Vec<u8>, ApiError> {
        read_form(body.into(), &mut Parameters::default(), 100)
    }

    fn json(body: &str) -> Result<Vec<u8>, ApiError> {
        read_json(body.into(), &mut Parameters::default(), 100)
    }

    #[test]
    fn a_form_may_escape_its_picture_or_not() {
        for body in [
            "image=+/+8aGVsbG8=",
            "image=%2b%2F%2B8aGVsbG8%3D&top_k=2",
            "top_k=2&image=+/+8aGVsbG8",
        ] {
            assert_eq!(form(body).unwrap(), b"\xfb\xff\xbchello", "{body}");
        }
        assert_eq!(form("top_k=2").unwrap(), b"");
        for body in ["image=%2", "image=%zz%", "image=$", &"a=1&".repeat(MAX_FIELDS + 1)] {
            assert!(matches!(form(body), Err(ApiError::BadRequest(_))), "{body}");
        }
    }

    #[test]
    fn json_may_escape_its_picture_or_not() {
        for text in ["+/+8aGVsbG8=", r"+\/\u002b8aGVsbG8=", "data:image/png;base64,+/+8aGVs\\nbG8="]
        {
            let body = format!("{{\"top_k\": 2, \"image\": \"{text}\"}}");
            assert_eq!(json(&body).unwrap(), b"\xfb\xff\xbchello", "{body}");
        }
        assert_eq!(json("{}").unwrap(), b"");
        for body in ["{\"image\": 3}", "[]", "{\"image\": \"$\"}", "{\"image\""] {
            assert!(matches!(json(body), Err(ApiError::BadRequest(_))), "{body}");
        }
    }
}
