//! Encodings of an upload: how the pictures lie in the body.

use super::{MAX_FIELDS, MAX_PICTURES, Pictures, json, too_many_fields, too_many_pictures};
use crate::data_url;
use crate::error::ApiError;
use crate::parameters::Parameters;
use std::ops::Range;

/// How the pictures lie in the bytes that arrived.
#[derive(Debug, Clone)]
pub(super) enum Encoding {
    /// The body is the picture's file.
    Raw,
    /// Fields of a multipart form, one after the other: files, or data URLs.
    Fields(Vec<Range<usize>>),
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `application/json`.
    Json,
}

impl Encoding {
    /// The pictures, decoded in place; sets the parameters beside them.
    pub(super) fn decode(
        self,
        bytes: &mut [u8],
        parameters: &mut Parameters,
        max_upload: usize,
    ) -> Result<Pictures, ApiError> {
        match self {
            Encoding::Raw => Ok(vec![Ok(0..bytes.len())]),
            Encoding::Fields(fields) => {
                let decode = |field| as_picture(bytes, field, max_upload);
                Ok(fields.into_iter().map(decode).collect())
            }
            Encoding::Form => read_form(bytes, parameters, max_upload),
            Encoding::Json => json::read(bytes, parameters, max_upload),
        }
    }
}

/// A file's bytes as they are; a text field's data URL decoded.
fn as_picture(
    bytes: &mut [u8],
    field: Range<usize>,
    max_upload: usize,
) -> Result<Range<usize>, ApiError> {
    if data_url::is_data_url(&bytes[field.clone()]) {
        return data_url::decode(bytes, field, max_upload);
    }
    if field.len() > max_upload {
        return Err(ApiError::UploadTooLarge(max_upload));
    }
    Ok(field)
}

/// `image=<escaped base64 or data URL>&top_k=3&...`
fn read_form(
    body: &mut [u8],
    parameters: &mut Parameters,
    max_upload: usize,
) -> Result<Pictures, ApiError> {
    const PICTURE: &[u8] = b"image=";
    if is_binary(body) {
        return Err(ApiError::BadRequest(PICTURE_AS_FORM.to_owned()));
    }
    let (mut images, mut start, mut others) = (Vec::new(), 0, 0);
    for field in body.split(|&byte| byte == b'&') {
        if field.starts_with(PICTURE) {
            // An empty one counts as absent.
            if field.len() > PICTURE.len() {
                images.push(start + PICTURE.len()..start + field.len());
            }
            if images.len() > MAX_PICTURES {
                return Err(too_many_pictures());
            }
        } else {
            others += 1;
            if others > MAX_FIELDS {
                return Err(too_many_fields());
            }
            for (name, value) in form_urlencoded::parse(field) {
                parameters.set(&name, &value)?;
            }
        }
        start += field.len() + 1;
    }
    let decode = |image| {
        let text = unescape(body, image);
        data_url::decode(body, text, max_upload)
    };
    Ok(images.into_iter().map(decode).collect())
}

const PICTURE_AS_FORM: &str = "the body is a file, and its Content-Type says that it is a form (curl does so for \
     --data-binary); send the header `Content-Type: image/jpeg`, or the file as the multipart field \
     `image` (curl -F image=@FILE)";

/// Whether a body holds, near its beginning, bytes that no form has and every picture file has.
fn is_binary(body: &[u8]) -> bool {
    let start = &body[..body.len().min(64)];
    start.iter().any(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn form(body: &str) -> Result<Vec<u8>, ApiError> {
        let mut body = body.as_bytes().to_vec();
        let mut pictures = read_form(&mut body, &mut Parameters::default(), 100)?;
        assert!(pictures.len() <= 1);
        Ok(pictures.pop().transpose()?.map_or(Vec::new(), |picture| body[picture].to_vec()))
    }

    #[test]
    fn a_form_may_escape_its_picture_or_not() {
        for body in [
            "image=+/+8aGVsbG8=",
            "image=%2b%2F%2B8aGVsbG8%3D&top_k=2",
            "top_k=2&image=+/+8aGVsbG8",
            "image=+/+8aGVsbG8&image=",
        ] {
            assert_eq!(form(body).unwrap(), b"\xfb\xff\xbchello", "{body}");
        }
        assert_eq!(form("top_k=2").unwrap(), b"");
        for body in ["image=%2", "image=%zz%", "image=$", &"a=1&".repeat(MAX_FIELDS + 1)] {
            assert!(matches!(form(body), Err(ApiError::BadRequest(_))), "{body}");
        }
    }
}
