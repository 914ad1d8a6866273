//! JSON bodies: `{"image": "<base64 or data URL>", "top_k": 3, ...}`, with a list of several pictures, and the forms of TensorFlow
//! Serving (`{"instances": [{"b64": "..."}]}`) and of Hugging Face (`{"inputs": "..."}`).
//!
//! Values are found by their bytes and nothing is built of them: a list of numbers would take thirty
//! times its text in memory.

use super::{MAX_PICTURES, Pictures};
use crate::bounded::{Fields, List};
use crate::data_url;
use crate::error::ApiError;
use crate::excerpt::excerpt;
use crate::parameters::{MAX_VALUE, Parameters};
use serde_json::value::RawValue;
use std::ops::Range;

/// Lists and objects that may be around the picture.
const DEPTH: usize = 4;

/// The pictures, decoded in the body's own memory; sets the parameters beside them.
pub(crate) fn read(
    body: &mut [u8],
    parameters: &mut Parameters,
    max_upload: usize,
) -> Result<Pictures, ApiError> {
    let mut images = Vec::new();
    for (name, value) in fields(body)?.iter() {
        match &**name {
            "image" | "images" | "instances" | "inputs" => {
                let found = pictures(value, DEPTH)?;
                // An empty one counts as absent.
                if found.iter().any(|text| !text.is_empty()) {
                    images = found;
                }
            }
            // Hugging Face's.
            "parameters" if value.get().starts_with('{') => {
                for (name, value) in fields(value.get().as_bytes())?.iter() {
                    set(parameters, name, value.get())?;
                }
            }
            name => set(parameters, name, value.get())?,
        }
    }
    let start = body.as_ptr().addr();
    let range =
        |text: &str| text.as_ptr().addr() - start..text.as_ptr().addr() - start + text.len();
    let ranges: Vec<Range<usize>> = images.into_iter().map(range).collect();
    Ok(ranges.into_iter().map(|range| decode(body, range, max_upload)).collect())
}

/// Decodes the picture in a JSON string's text, in place.
pub(crate) fn decode(
    body: &mut [u8],
    escaped: Range<usize>,
    max_upload: usize,
) -> Result<Range<usize>, ApiError> {
    let text = unescape(body, escaped)?;
    data_url::decode(body, text, max_upload)
}

/// The escaped texts of the pictures in a value: those of a list of several, or one.
fn pictures(value: &RawValue, depth: usize) -> Result<Vec<&str>, ApiError> {
    let text = value.get();
    let only = match text.as_bytes().first() {
        Some(b'[') if depth > 0 => match &elements(text)?[..] {
            [only] => only,
            several => return several.iter().map(|one| picture(one, depth - 1)).collect(),
        },
        Some(b'{') if depth > 0 => picture_field(text)?,
        _ => return Ok(vec![picture(value, depth)?]),
    };
    pictures(only, depth - 1)
}

/// The escaped text of the picture in a value: a string, `{"b64": "..."}`, or one of these as the only
/// element of a list or the only field of an object, as TensorFlow Serving nests them.
fn picture(value: &RawValue, depth: usize) -> Result<&str, ApiError> {
    let text = value.get();
    let only = match text.as_bytes().first() {
        Some(b'"') => return Ok(&text[1..text.len() - 1]),
        Some(b'[') if depth > 0 => match &elements(text)?[..] {
            [only] => only,
            _ => return Err(bad("a list in the list of pictures has more than one")),
        },
        Some(b'{') if depth > 0 => picture_field(text)?,
        _ => return Err(bad("the picture is not a string")),
    };
    picture(only, depth - 1)
}

/// The field of an object that holds the picture.
fn picture_field(object: &str) -> Result<&RawValue, ApiError> {
    let fields = fields(object.as_bytes())?;
    let named = fields.iter().find(|(name, _)| name == "b64");
    let only = named.or(if let [field] = &fields[..] { Some(field) } else { None });
    let only =
        only.ok_or_else(|| bad("an object around the picture has several fields, none `b64`"))?;
    Ok(only.1)
}

/// The elements of a list of pictures, which is not empty.
fn elements(list: &str) -> Result<List<&RawValue, MAX_PICTURES>, ApiError> {
    let elements: List<&RawValue, MAX_PICTURES> =
        serde_json::from_str(list).map_err(|error| syntax(&error))?;
    if elements.is_empty() {
        return Err(bad("the list is empty"));
    }
    Ok(elements)
}

/// Sets one parameter: a string by its text, any other value as it is written.
pub(crate) fn set(parameters: &mut Parameters, name: &str, value: &str) -> Result<(), ApiError> {
    if value == "null" {
        return Ok(());
    }
    // A value that is too long is refused, or ignored, by its name; with its quotes as without.
    if value.starts_with('"') && value.len() <= MAX_VALUE + 2 {
        let text: String = serde_json::from_str(value).map_err(|error| syntax(&error))?;
        return parameters.set(name, &text);
    }
    match whole(value) {
        Some(number) => parameters.set(name, &number.to_string()),
        None => parameters.set(name, value),
    }
}

/// The whole number that a JSON number is, however it is written: `3.0` is 3.
fn whole(value: &str) -> Option<u32> {
    let number: f64 = value.get(..value.len().min(MAX_VALUE))?.parse().ok()?;
    let is_whole = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    is_whole.then_some(number as u32)
}

/// The fields of an object.
fn fields(text: &[u8]) -> Result<Fields<'_>, ApiError> {
    if !text.trim_ascii_start().starts_with(b"{") {
        return Err(bad("it is not an object"));
    }
    serde_json::from_slice(text).map_err(|error| syntax(&error))
}

/// Undoes a valid JSON string's escapes in place; returns the range of the text. Base64 and what may
/// surround it are ASCII.
fn unescape(buffer: &mut [u8], escaped: Range<usize>) -> Result<Range<usize>, ApiError> {
    let (mut read, mut written) = (escaped.start, escaped.start);
    while read < escaped.end {
        let (byte, length) = match buffer[read..escaped.end] {
            [b'\\', b'u', b'0', b'0', high, low, ..] => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let code = digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low);
                (code.and_then(|code| u8::try_from(code).ok()).filter(u8::is_ascii), 6)
            }
            [b'\\', b'u', ..] => (None, 6),
            [b'\\', b'n', ..] => (Some(b'\n'), 2),
            [b'\\', b'r', ..] => (Some(b'\r'), 2),
            [b'\\', b't', ..] => (Some(b'\t'), 2),
            [b'\\', b'b', ..] => (Some(8), 2),
            [b'\\', b'f', ..] => (Some(12), 2),
            [b'\\', byte, ..] => (Some(byte), 2),
            _ => (Some(buffer[read]), 1),
        };
        buffer[written] = byte.ok_or_else(|| bad("the picture's text holds another letter"))?;
        read += length;
        written += 1;
    }
    Ok(escaped.start..written)
}

fn bad(reason: &str) -> ApiError {
    let message = "the body is not a JSON object whose \"image\" is base64 or a data URL";
    ApiError::BadRequest(format!("{message}: {reason}"))
}

/// The error of a text that is not JSON, or not what is expected. Its message may repeat input.
fn syntax(error: &serde_json::Error) -> ApiError {
    bad(&excerpt(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::MAX_FIELDS;

    fn json(body: &str) -> Result<Vec<u8>, ApiError> {
        let mut body = body.as_bytes().to_vec();
        let mut pictures = read(&mut body, &mut Parameters::default(), 100)?;
        assert!(pictures.len() <= 1);
        Ok(pictures.pop().transpose()?.map_or(Vec::new(), |picture| body[picture].to_vec()))
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

    #[test]
    fn names_may_be_escaped_and_the_last_picture_that_has_bytes_counts() {
        for body in [
            r#"{"im\u0061ge": "aGVsbG8="}"#,
            r#"{"image": "AAAA", "image": "aGVsbG8=", "image": ""}"#,
            r#" { "class" : null , "image" : "\u0061GVs\u0062G8=" , "top_k" : "3" } "#,
        ] {
            assert_eq!(json(body).unwrap(), b"hello", "{body}");
        }
        for body in [r#"{"image": "\u0141GVs"}"#, r#"{"image": null}"#, "{} {}"] {
            assert!(matches!(json(body), Err(ApiError::BadRequest(_))), "{body}");
        }
    }

    #[test]
    fn large_values_are_ignored_or_refused_by_their_name_and_fields_are_counted() {
        let list = format!("[{}0]", "0,".repeat(MAX_VALUE));
        assert_eq!(json(&format!("{{\"a\": {list}}}")).unwrap(), b"");
        assert_eq!(json(&format!("{{\"{}\": 1}}", "a".repeat(5000))).unwrap(), b"");
        let refused = json(&format!("{{\"class\": {list}}}"));
        assert!(matches!(refused, Err(ApiError::Parameter { .. })), "{refused:?}");
        let object = |count| format!("{{{}}}", vec!["\"a\": 1"; count].join(","));
        assert!(json(&object(MAX_FIELDS)).is_ok());
        assert!(matches!(json(&object(MAX_FIELDS + 1)), Err(ApiError::BadRequest(_))));
    }

    #[test]
    fn an_index_may_be_written_as_json_writes_whole_numbers() {
        let layer = |value: &str| {
            let mut parameters = Parameters::default();
            set(&mut parameters, "layer", value).unwrap();
            parameters.request(true).explain.unwrap().layer
        };
        for value in ["16", "16.0", "1.6e1", "\"16\""] {
            assert_eq!(layer(value), derm::Layer::Named("16".to_owned()), "{value}");
        }
        for value in ["1.5", "-1", "\"16.0\"", "true"] {
            assert_eq!(layer(value), derm::Layer::Named(value.replace('"', "")), "{value}");
        }
    }

    #[test]
    fn a_string_of_the_longest_value_is_read() {
        let class = "x".repeat(MAX_VALUE);
        assert!(json(&format!("{{\"class\": \"{class}\"}}")).is_ok());
        assert!(json(&format!("{{\"class\": \"{class}x\"}}")).is_err());
    }
}
