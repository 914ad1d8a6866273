//! Uploads: the pictures and the parameters of a request, in whichever form they are sent.

pub(crate) mod content_encoding;
mod encoding;
mod form;
mod json;
mod part_headers;

pub(crate) use json::{decode as decode_json_text, read as read_json, set as set_json_parameter};

use crate::bounded::MAX_FIELDS;
use crate::clients::Client;
use crate::config::Config;
use crate::connections::Connection;
use crate::error::ApiError;
use crate::excerpt::quoted;
use crate::intake::Intake;
use crate::parameters::Parameters;
use crate::permits::{Permits, UploadPermit};
use crate::state::State;
use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use actix_web::web::{Bytes, Payload};
use content_encoding::decoded;
use encoding::Encoding;
use futures_util::Stream;
use std::ops::{Deref, Range};
use std::sync::Arc;
use tokio::time::Instant;

/// Pictures that one request may have.
pub(crate) const MAX_PICTURES: usize = 128;
/// Bytes that a form or JSON body may hold beside the picture.
const MARGIN: usize = 16 * 1024;

/// Where the pictures of a request lie in its body, in order; or why one cannot be used.
pub(crate) type Pictures = Vec<Result<Range<usize>, ApiError>>;

/// Pictures that have arrived, and the parameters of their request.
#[derive(Debug)]
pub(crate) struct Upload {
    bytes: Vec<u8>,
    pictures: Pictures,
    pub(crate) parameters: Parameters,
    /// Held as long as the bytes are.
    pub(crate) permit: UploadPermit,
}

impl Upload {
    /// Whether there are several pictures.
    pub(crate) fn has_several(&self) -> bool {
        self.pictures.len() > 1
    }

    /// The bytes of the only picture, and the permit for them.
    ///
    /// # Errors
    /// [`ApiError::BadRequest`], [`ApiError::UploadTooLarge`].
    pub(crate) fn into_only(mut self) -> Result<(Vec<u8>, UploadPermit), ApiError> {
        let none = || ApiError::BadRequest(NO_PICTURE.to_owned());
        let range = self.pictures.pop().ok_or_else(none)??;
        if range.is_empty() {
            return Err(none());
        }
        self.bytes.truncate(range.end);
        self.bytes.drain(..range.start);
        Ok((self.bytes, self.permit))
    }

    /// All pictures, in bytes that they share.
    pub(crate) fn into_all(self) -> (SharedBytes, Pictures) {
        (SharedBytes::new(self.bytes, self.permit), self.pictures)
    }
}

/// Bytes of a body that several pictures share, with the permit for them.
#[derive(Debug, Clone)]
pub(crate) struct SharedBytes(Arc<(Vec<u8>, UploadPermit)>);

impl SharedBytes {
    pub(crate) fn new(bytes: Vec<u8>, permit: UploadPermit) -> SharedBytes {
        SharedBytes(Arc::new((bytes, permit)))
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.0
    }
}

/// A body that has arrived and is not decoded yet.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    encoding: Encoding,
    /// Those that were found so far.
    parameters: Parameters,
    /// The largest picture, in bytes.
    max_upload: usize,
    permit: UploadPermit,
}

impl Body {
    /// The pictures and all parameters. There is at least one picture.
    ///
    /// # Errors
    /// [`ApiError::BadRequest`], [`ApiError::UploadTooLarge`], [`ApiError::Parameter`].
    pub(crate) fn decode(self) -> Result<Upload, ApiError> {
        let Body { mut bytes, encoding, mut parameters, max_upload, permit } = self;
        let pictures = encoding.decode(&mut bytes, &mut parameters, max_upload)?;
        if pictures.is_empty() {
            return Err(ApiError::BadRequest(NO_PICTURE.to_owned()));
        }
        Ok(Upload { bytes, pictures, parameters, permit })
    }
}

/// Reads a request's body. Memory is granted as bytes arrive; an announced length only limits.
/// Reading ends after UPLOAD_SECONDS, or when the client is too slow; waiting for memory ends at the
/// deadline.
pub(crate) async fn receive(
    request: &HttpRequest,
    payload: Payload,
    config: &Config,
    permits: &Permits,
    client: Arc<Client>,
    deadline: Instant,
) -> Result<Body, ApiError> {
    let mut parameters = Parameters::from_query(request.query_string())?;
    let max_upload = config.max_upload_bytes;
    let length = check_announced(request.headers(), max_upload)?;
    let mut intake = intake(config, permits, client, deadline);
    let (bytes, encoding) =
        read(request, payload, &mut parameters, (max_upload, length), &mut intake).await?;
    Ok(Body { bytes, encoding, parameters, max_upload, permit: intake.into_permit() })
}

/// Reads a request's body as it is, whatever its type; the connection knows that its client is to
/// send. Limits are those of [`receive`].
pub(crate) async fn receive_plain(
    request: &HttpRequest,
    payload: Payload,
    state: &State,
    deadline: Instant,
) -> Result<(Vec<u8>, UploadPermit), ApiError> {
    let connection = request.conn_data::<Arc<Connection>>();
    connection.inspect(|connection| connection.body());
    let (config, permits) = (&state.config, &state.permits);
    let read = read_plain(request, payload, config, permits, state.client(request), deadline).await;
    connection.inspect(|connection| connection.request());
    read
}

async fn read_plain(
    request: &HttpRequest,
    payload: Payload,
    config: &Config,
    permits: &Permits,
    client: Arc<Client>,
    deadline: Instant,
) -> Result<(Vec<u8>, UploadPermit), ApiError> {
    let max_upload = config.max_upload_bytes;
    let length = check_announced(request.headers(), max_upload)?;
    let mut intake = intake(config, permits, client, deadline);
    let (body, is_encoded) = decoded(request.headers(), payload, max_upload)?;
    let length = length.filter(|_| !is_encoded);
    let (limit, mut bytes) = (largest_body(max_upload), Vec::new());
    read_all(body, &mut bytes, limit, max_upload, length, &mut intake).await?;
    Ok((bytes, intake.into_permit()))
}

fn intake<'a>(
    config: &Config,
    permits: &'a Permits,
    client: Arc<Client>,
    deadline: Instant,
) -> Intake<'a> {
    let max_upload = config.max_upload_bytes;
    let limits = (largest_body(max_upload), max_upload);
    Intake::new(permits, client, limits, config.upload_time(), deadline)
}

const NO_PICTURE: &str = "there is no picture; send it as the multipart field `image`, as a data \
                          URL in the form field `image`, as JSON {\"image\": \"<base64>\"}, or as \
                          the body with an image/* type";

/// Bytes of the largest body: base64 needs a third more than the picture.
pub(crate) fn largest_body(max_upload: usize) -> usize {
    max_upload.div_ceil(3) * 4 + MARGIN
}

/// The length that is announced for a body.
///
/// # Errors
/// [`ApiError::UploadTooLarge`]: no picture of at most `max_upload` bytes makes so large a body.
pub(crate) fn check_announced(
    headers: &HeaderMap,
    max_upload: usize,
) -> Result<Option<usize>, ApiError> {
    let length = content_length(headers)?;
    if length.is_some_and(|length| length > largest_body(max_upload)) {
        return Err(ApiError::UploadTooLarge(max_upload));
    }
    Ok(length)
}

fn content_length(headers: &HeaderMap) -> Result<Option<usize>, ApiError> {
    let Some(value) = headers.get(CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|value| value.parse().ok());
    length
        .map(Some)
        .ok_or_else(|| ApiError::BadRequest("Content-Length is not a number".to_owned()))
}

/// The bytes of a body, of which a multipart form's picture, and how that is encoded.
async fn read(
    request: &HttpRequest,
    payload: Payload,
    parameters: &mut Parameters,
    (max_upload, length): (usize, Option<usize>),
    intake: &mut Intake<'_>,
) -> Result<(Vec<u8>, Encoding), ApiError> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let (body, is_encoded) = decoded(request.headers(), payload, max_upload)?;
    let length = length.filter(|_| !is_encoded);
    let largest = largest_body(max_upload);
    let (limit, encoding) = match kind.as_str() {
        "multipart/form-data" => {
            let limits = (max_upload, length);
            let (bytes, fields) =
                form::read(request.headers(), body, parameters, limits, intake).await?;
            return Ok((bytes, Encoding::Fields(fields)));
        }
        "application/x-www-form-urlencoded" => (largest, Encoding::Form),
        "application/json" => (largest, Encoding::Json),
        kind if kind.starts_with("image/") || kind == "application/octet-stream" => {
            (max_upload, Encoding::Raw)
        }
        "" => return Err(ApiError::BadRequest(NO_PICTURE.to_owned())),
        kind => {
            let message = format!("a body of type {} is not read here; {NO_PICTURE}", quoted(kind));
            return Err(ApiError::UnsupportedMediaType(message));
        }
    };
    let mut bytes = Vec::new();
    read_all(body, &mut bytes, limit, max_upload, length, intake).await?;
    Ok((bytes, encoding))
}

/// Appends the chunks of a body or of a form's field, up to `limit` bytes; `told` is the limit that
/// the client is told, `announced` the length that it announced.
async fn read_all<E: std::fmt::Display>(
    mut chunks: impl Stream<Item = Result<Bytes, E>> + Unpin,
    buffer: &mut Vec<u8>,
    limit: usize,
    told: usize,
    announced: Option<usize>,
    intake: &mut Intake<'_>,
) -> Result<(), ApiError> {
    let mut read = 0;
    while let Some(chunk) = intake.chunk(&mut chunks).await? {
        if chunk.is_empty() {
            continue;
        }
        if read == 0 {
            // Address space for all of it at once, of which the system backs what is written: a
            // vector that grows would hold up to twice the bytes that were granted, and three times
            // while it is copied.
            let all = announced.unwrap_or(limit).min(limit);
            let room = buffer.try_reserve_exact(all.saturating_sub(buffer.len()));
            room.map_err(|_| ApiError::Busy("there is no memory for the upload"))?;
        }
        read += chunk.len();
        if read > limit {
            return Err(ApiError::UploadTooLarge(told));
        }
        buffer.extend_from_slice(&chunk);
    }
    Ok(())
}

fn too_many_pictures() -> ApiError {
    ApiError::BadRequest(format!("the request has more than {MAX_PICTURES} pictures"))
}

fn too_many_fields() -> ApiError {
    ApiError::BadRequest(format!("the form has more than {MAX_FIELDS} fields"))
}
