//! Base64, bare or in a data URL (RFC 2397), decoded in place.

use crate::error::ApiError;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::ops::Range;

/// Accepts text with and without padding, since clients send both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Characters decoded at once; a multiple of four.
const CHUNK: usize = 1024;

/// Whether a text is a data URL, in capitals or not.
pub(crate) fn is_data_url(text: &[u8]) -> bool {
    const SCHEME: &[u8] = b"data:";
    let text = text.trim_ascii_start();
    text.get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME))
}

/// Decodes the text in `range` of the buffer into the beginning of the same range; returns the range
/// of the bytes. White space is skipped.
pub(crate) fn decode(
    buffer: &mut [u8],
    range: Range<usize>,
    max_upload: usize,
) -> Result<Range<usize>, ApiError> {
    let start = range.start;
    let length = decode_slice(&mut buffer[range], max_upload)?;
    Ok(start..start + length)
}

/// Decodes a text into the beginning of its own memory; returns how many bytes it holds.
fn decode_slice(buffer: &mut [u8], max_upload: usize) -> Result<usize, ApiError> {
    let mut chunk = [0; CHUNK];
    let (mut held, mut length) = (0, 0);
    for at in base64_of(buffer, 0..buffer.len())? {
        if buffer[at].is_ascii_whitespace() {
            continue;
        }
        if held == CHUNK {
            let written = write(&chunk, buffer, length)?;
            if written != CHUNK / 4 * 3 {
                return Err(bad("padding before the end"));
            }
            length += written;
            held = 0;
        }
        chunk[held] = buffer[at];
        held += 1;
    }
    length += write(&chunk[..held], buffer, length)?;
    if length > max_upload {
        return Err(ApiError::UploadTooLarge(max_upload));
    }
    Ok(length)
}

/// The range of the base64 within a text: what follows a data URL's comma, or all of it.
fn base64_of(buffer: &[u8], range: Range<usize>) -> Result<Range<usize>, ApiError> {
    let text = buffer[range.clone()].trim_ascii_start();
    if !is_data_url(text) {
        return Ok(range);
    }
    let comma = text.iter().position(|&byte| byte == b',');
    let comma = comma.ok_or_else(|| bad("a data URL needs a comma"))?;
    const BASE64_SAID: &[u8] = b"base64";
    let said = text[..comma].trim_ascii_end();
    let (media, said) = said.split_at(said.len().saturating_sub(BASE64_SAID.len()));
    let is_said = said.eq_ignore_ascii_case(BASE64_SAID);
    if !is_said || !media.trim_ascii_end().ends_with(b";") {
        return Err(bad("a data URL must say ;base64"));
    }
    Ok(range.end - text.len() + comma + 1..range.end)
}

/// Decodes a chunk to offset `at`. That never overwrites text that is not read yet, since four
/// characters give three bytes.
fn write(chunk: &[u8], buffer: &mut [u8], at: usize) -> Result<usize, ApiError> {
    let mut bytes = [0; CHUNK / 4 * 3];
    let decoded =
        BASE64.decode_slice(chunk, &mut bytes).map_err(|error| bad(&error.to_string()))?;
    buffer[at..at + decoded].copy_from_slice(&bytes[..decoded]);
    Ok(decoded)
}

fn bad(reason: &str) -> ApiError {
    ApiError::BadRequest(format!("the picture is not valid base64: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

    fn decoded_within(mut buffer: Vec<u8>, range: Range<usize>) -> Result<Vec<u8>, ApiError> {
        let bytes = decode(&mut buffer, range, 5000)?;
        Ok(buffer[bytes].to_vec())
    }

    fn decoded(text: &str) -> Result<Vec<u8>, ApiError> {
        decoded_within(text.as_bytes().to_vec(), 0..text.len())
    }

    #[test]
    fn base64_bare_padded_wrapped_or_in_a_data_url() {
        for text in [
            "aGVsbG8=",
            "aGVsbG8",
            "aGVs\r\nbG8=",
            " data:image/png;base64,aGVsbG8=",
            "DATA:IMAGE/PNG;BASE64,aGVsbG8=",
            "Data:image/png; base64 ,aGVsbG8=",
        ] {
            assert_eq!(decoded(text).unwrap(), b"hello", "{text}");
        }
        for text in ["data:image/png,hello", "data:;base64", "a$b", "a", "aGVsbG8=aGVs"] {
            assert!(matches!(decoded(text), Err(ApiError::BadRequest(_))), "{text}");
        }
        assert!(matches!(decoded(&"A".repeat(8000)), Err(ApiError::UploadTooLarge(5000))));
    }

    #[test]
    fn every_length_decodes_as_it_was_encoded() {
        let bytes: Vec<u8> = (0..2400u32).map(|i| (i * i) as u8).collect();
        for length in (0..40).chain(760..780).chain(1530..1540).chain(2390..2400) {
            for text in
                [STANDARD.encode(&bytes[..length]), STANDARD_NO_PAD.encode(&bytes[..length])]
            {
                assert_eq!(decoded(&text).unwrap(), bytes[..length], "{length}");
                let wrapped = text.as_bytes().chunks(76).collect::<Vec<_>>().join(&b"\n"[..]);
                let wrapped = [b"image=", &wrapped[..], b"&top_k=3"].concat();
                let range = 6..wrapped.len() - 8;
                assert_eq!(decoded_within(wrapped, range).unwrap(), bytes[..length], "{length}");
            }
        }
    }

    #[test]
    fn padding_inside_is_refused_wherever_it_falls() {
        let text = format!("{}QQ=={}", "A".repeat(CHUNK - 4), "A".repeat(8));
        assert!(matches!(decoded(&text), Err(ApiError::BadRequest(_))));
    }
}
