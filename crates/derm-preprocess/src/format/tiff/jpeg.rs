//! JPEG compression (TIFF Technical Note 2): each strip or tile is a JPEG whose tables may lie apart.

use super::error::undecodable;
use crate::decoder::Decoder;
use crate::error::Error;
use crate::jpeg::Jpeg;
use crate::limits::Limits;

/// Bytes that decoding a strip or tile of this width holds, beside its pixels and the file's.
pub(super) fn memory(width: usize) -> u64 {
    // Three bands of at most 32 rows of three components, a row of each, and a strip of rows.
    (3 * 32 * 3 + 8) * (width as u64 + 32) + 512 * 1024 + 3 * width as u64
}

/// Decodes a strip or tile of this size, in pixels, to RGB; gives fewer rows where the JPEG has fewer.
/// Also whether the data is damaged.
pub(super) fn decompress(
    tables: &[u8],
    data: &[u8],
    is_rgb: bool,
    (width, height): (usize, usize),
    limits: &Limits,
) -> Result<(Vec<u8>, bool), Error> {
    // The tables are a JPEG, too: without its end and the data's start, both are one.
    let tables = tables.strip_suffix(&[0xff, 0xd9]).unwrap_or(tables);
    let joined: Vec<u8>;
    let file = if tables.len() > 2 {
        joined = [tables, data.strip_prefix(&[0xff, 0xd8]).unwrap_or(data)].concat();
        &joined
    } else {
        data
    };
    let jpeg = Jpeg::read_embedded(file, is_rgb)?;
    let (stored, down) = (jpeg.size().0 as usize, jpeg.size().1 as usize);
    // Memory was counted for the width that the file announces. Writers may store whole MCUs.
    if stored == 0 || stored > width || down > height.next_multiple_of(32) {
        let sizes = format!("a JPEG of {stored}x{down} pixels in {width}x{height}");
        return Err(undecodable(sizes));
    }
    let mut pixels = Vec::with_capacity(3 * width * height);
    let warnings = jpeg.decode(file, limits, &mut |rows| {
        for row in rows.chunks_exact(3 * stored) {
            if pixels.len() < 3 * width * height {
                pixels.extend_from_slice(row);
                pixels.resize(pixels.len() + 3 * (width - stored), 255);
            }
        }
        Ok(())
    })?;
    Ok((pixels, stored < width || !warnings.is_empty()))
}
