//! Multipart forms: the pictures among the fields.

use super::content_encoding::Decoded;
use super::part_headers::AsciiHeaders;
use super::{
    MAX_FIELDS, MAX_PICTURES, NO_PICTURE, largest_body, read_all, too_many_fields,
    too_many_pictures,
};
use crate::data_url;
use crate::error::ApiError;
use crate::excerpt::quoted;
use crate::intake::{Intake, malformed};
use crate::parameters::{MAX_VALUE, Parameters, is_parameter};
use actix_multipart::{Field, Multipart};
use actix_web::http::header::HeaderMap;
use std::ops::Range;

/// The field of the picture.
const PICTURE: &str = "image";
/// What other servers call it: read if it is the only file.
const OTHER_NAMES: [&str; 10] =
    ["file", "files", "image[]", "images", "picture", "photo", "img", "upload", "data", "Image"];

/// The pictures that were found so far.
#[derive(Default)]
struct Found {
    /// One after the other.
    bytes: Vec<u8>,
    pictures: Vec<Range<usize>>,
    /// The name of the only one's field, if that is not the expected one.
    name: String,
}

impl Found {
    fn is_other(&self) -> bool {
        !self.name.is_empty()
    }

    /// Makes a picture of the bytes from `start` on, unless there are none.
    fn add(&mut self, start: usize) -> Result<(), ApiError> {
        if self.bytes.len() > start {
            self.pictures.push(start..self.bytes.len());
        }
        if self.pictures.len() > MAX_PICTURES { Err(too_many_pictures()) } else { Ok(()) }
    }
}

/// What a field is.
enum Kind {
    Picture,
    /// A file, or what may be one, under another name.
    OtherFile,
    Value,
}

impl Kind {
    fn of(field: &Field, name: &str) -> Kind {
        let disposition = field.content_disposition();
        let is_file = disposition.is_some_and(|field| field.get_filename().is_some());
        if name == PICTURE {
            Kind::Picture
        } else if is_file || OTHER_NAMES.contains(&name) {
            Kind::OtherFile
        } else {
            Kind::Value
        }
    }
}

/// The pictures: the fields `image` that have any bytes, in order, or the only file. Sets the
/// parameters of all other fields.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Decoded,
    parameters: &mut Parameters,
    (max_upload, announced): (usize, Option<usize>),
    intake: &mut Intake<'_>,
) -> Result<(Vec<u8>, Vec<Range<usize>>), ApiError> {
    let mut form = Multipart::new(headers, AsciiHeaders::new(headers, body));
    let limit = largest_body(max_upload);
    let mut found = Found::default();
    let mut fields = 0;
    while let Some(field) = intake.next(&mut form).await? {
        let mut field = field.map_err(|error| malformed(&error))?;
        fields += 1;
        if fields > MAX_FIELDS + found.pictures.len() {
            return Err(too_many_fields());
        }
        let name = field.name().unwrap_or_default().to_owned();
        match Kind::of(&field, &name) {
            Kind::Value => read_value(&name, field, parameters, intake).await?,
            Kind::Picture => {
                let start = found.bytes.len();
                let bytes = &mut found.bytes;
                read_all(&mut field, bytes, limit, max_upload, announced, intake).await?;
                if found.is_other() && found.bytes.len() > start {
                    return Err(unexpected(&found.name));
                }
                found.add(start)?;
            }
            Kind::OtherFile => {
                let mut bytes = Vec::new();
                read_all(&mut field, &mut bytes, limit, max_upload, announced, intake).await?;
                // An empty one is a file that was not chosen; a word, a field that is ignored.
                if bytes.is_empty() || is_word(&field, &bytes) {
                    continue;
                }
                if !found.bytes.is_empty() || !OTHER_NAMES.contains(&name.as_str()) {
                    return Err(unexpected(&name));
                }
                found = Found { bytes, name, ..Found::default() };
                found.add(0)?;
            }
        }
    }
    Ok((found.bytes, found.pictures))
}

/// Whether what may be a picture by its name is a value that has nothing to do with one.
fn is_word(field: &Field, bytes: &[u8]) -> bool {
    let disposition = field.content_disposition();
    let is_file = disposition.is_some_and(|field| field.get_filename().is_some());
    !is_file && bytes.len() <= MAX_VALUE && !data_url::is_data_url(bytes)
}

/// Reads a parameter; one that is not known is ignored if it is short.
async fn read_value(
    name: &str,
    mut field: Field,
    parameters: &mut Parameters,
    intake: &mut Intake<'_>,
) -> Result<(), ApiError> {
    let mut bytes = Vec::new();
    match read_all(&mut field, &mut bytes, MAX_VALUE, MAX_VALUE, None, intake).await {
        Err(ApiError::UploadTooLarge(_)) if !is_parameter(name) => return Err(unexpected(name)),
        read => read?,
    }
    parameters.set(name, &String::from_utf8_lossy(&bytes))
}

fn unexpected(name: &str) -> ApiError {
    let name = quoted(name);
    ApiError::BadRequest(format!(
        "the form has a file in the field {name}; one picture is expected, in the field \
         \"{PICTURE}\". {NO_PICTURE}"
    ))
}
