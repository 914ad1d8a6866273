//! Known formats that are not read: an error names the format and what the user can do.

use crate::error::Error;

const AS_JPEG: &str = "convert it to JPEG or PNG";
const PHONE: &str = "share it as JPEG, or set the phone's camera to \"most compatible\"";
const FILE: &str = "send the picture's file itself";

/// The error for a file that is in none of the formats that are read.
pub(super) fn error(bytes: &[u8]) -> Error {
    match name(bytes) {
        Some((what, remedy)) => Error::Unsupported { what: what.to_owned(), remedy },
        None => Error::UnknownFormat,
    }
}

/// Name of a known format, and the remedy.
fn name(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    match bytes {
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some(iso_media(bytes)),
        [0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => Some(("JPEG XL", AS_JPEG)),
        [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] | [0xff, 0x4f, 0xff, 0x51, ..] => {
            Some(("JPEG 2000", AS_JPEG))
        }
        [b'%', b'P', b'D', b'F', ..] => Some(("PDF", "save the picture in it as JPEG or PNG")),
        [b'8', b'B', b'P', b'S', ..] => Some(("PSD, Photoshop's format,", AS_JPEG)),
        [0, 0, 1 | 2, 0, ..] => Some(("ICO", AS_JPEG)),
        [b'P', b'K', 3, 4, ..] => Some(("a ZIP archive", "unpack it and send a picture")),
        [0x76, 0x2f, 0x31, 0x01, ..] => Some(("OpenEXR", AS_JPEG)),
        [b'P', b'1'..=b'7', b' ' | b'\n' | b'\r' | b'\t', ..] => Some(("PNM", AS_JPEG)),
        [b'q', b'o', b'i', b'f', ..] => Some(("QOI", AS_JPEG)),
        _ if bytes.get(128..132) == Some(b"DICM") => {
            Some(("DICOM", "export the picture as JPEG or PNG, without patient data"))
        }
        _ => text(bytes),
    }
}

/// Formats in ISO base media files (ISO/IEC 14496-12), by their brand.
fn iso_media(bytes: &[u8]) -> (&'static str, &'static str) {
    let length = bytes.first_chunk::<4>().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    let brands = &bytes[8..length.clamp(8, 256).min(bytes.len())];
    let has = |wanted: &[&[u8; 4]]| {
        brands.chunks_exact(4).any(|brand| wanted.iter().any(|wanted| brand == *wanted))
    };
    if has(&[b"avif", b"avis"]) {
        ("AVIF", AS_JPEG)
    } else if has(&[b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"]) {
        ("HEIC, the iPhone's format,", PHONE)
    } else if has(&[b"crx "]) {
        ("CR3, a camera's raw format,", AS_JPEG)
    } else {
        ("a video", "send a single picture as JPEG or PNG")
    }
}

/// Formats that are text.
fn text(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    let start = bytes[..bytes.len().min(1024)].to_ascii_lowercase();
    let contains = |tag: &[u8]| start.windows(tag.len()).any(|window| window == tag);
    if start.starts_with(b"data:") {
        return Some(("a data URL as a file", "send it as a form field, or decode its base64"));
    }
    if start.starts_with(b"<") {
        return if contains(b"<svg") {
            Some(("SVG", "export it as PNG"))
        } else if contains(b"<html") || contains(b"<!doctype html") {
            Some(("HTML, a web page,", FILE))
        } else {
            None
        };
    }
    // Base64 of the first bytes of JPEG, PNG, GIF, WebP and BMP.
    let encoded: [&[u8]; 4] = [b"/9j/", b"iVBORw0KGgo", b"R0lGOD", b"UklGR"];
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=-_\r\n".contains(byte);
    let sample = &bytes[..bytes.len().min(256)];
    if encoded.iter().any(|prefix| bytes.starts_with(prefix)) && sample.iter().all(is_base64) {
        return Some(("base64 text as a file", "decode it, or send it as a form field"));
    }
    None
}
