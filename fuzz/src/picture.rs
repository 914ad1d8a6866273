//! Pictures: header, announced memory, decoding, resizing.

use crate::{metered, watch_panics};
use derm_preprocess::{Fit, Format, Limits, Picture, Prepared, RgbImage, Spec};

/// Small, so that one input takes milliseconds.
pub const LIMITS: Limits =
    Limits { max_bytes: 1 << 20, max_pixels: 1 << 14, max_memory: 64 << 20, deadline: None };

/// Bytes that reading a header may hold.
const HEADER: u64 = 256 * 1024;
/// Bytes for what is not announced: the text of errors, lists of warnings.
const SLACK: u64 = 16 * 1024;
/// Of a WebP: `image-webp` asks for zeroed memory of the length that a partition claims to have, 24 bits, before it
/// finds that the file is shorter. It is never touched.
const PARTITION: u64 = 1 << 24;

/// Decodes a file in one of the formats, with all that is known about it checked; nothing where it is refused.
///
/// # Panics
/// Where memory exceeds what was announced, time is not bounded, or results contradict each other.
pub fn decode(bytes: &[u8], formats: &[Format]) -> Option<(Prepared, RgbImage)> {
    watch_panics();
    let (picture, header) = metered(|| Picture::open(bytes, &LIMITS));
    assert!(header.memory <= HEADER, "reading the header held {} bytes", header.memory);
    let picture = picture.ok()?;
    if !formats.contains(&picture.format()) {
        return None;
    }
    let spec = Spec { fit: Fit::Stretch, ..Spec::square(32) };
    let slack = SLACK + if picture.format() == Format::WebP { PARTITION } else { 0 };
    let announced = picture.cost(&spec).ok()?.memory + slack;
    let (prepared, decoding) = metered(|| picture.prepare(&spec));
    check_held(&picture, decoding.memory, announced);
    // The whole picture as well, of a part of the inputs: the decoder is the same.
    if bytes.len() % 4 != 0 && !formats.contains(&Format::Jpeg) {
        return None;
    }
    let announced = picture.cost_with_upload(&spec).ok()?.memory + slack;
    let (both, decoding) = metered(|| picture.prepare_with_upload(&spec));
    check_held(&picture, decoding.memory, announced);
    assert_eq!(prepared.is_ok(), both.is_ok(), "decoding twice gives two answers");
    let (prepared, (again, whole)) = (prepared.ok()?, both.ok()?);
    assert!(prepared == again, "decoding twice gives two pictures");
    assert_eq!(whole.dimensions(), picture.size());
    Some((prepared, whole))
}

/// Fails where decoding held more bytes than were announced.
fn check_held(picture: &Picture<'_>, held: u64, announced: u64) {
    let (format, size) = (picture.format(), picture.size());
    assert!(held <= announced, "{format:?} {size:?}: {held} bytes, not {announced}");
}
