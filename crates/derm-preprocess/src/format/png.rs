//! PNG, by the `png` crate: row by row, or as a whole where it is interlaced.

use super::alpha::write_row;
use crate::decoder::{Decoder, RowSink};
use crate::error::Error;
use crate::limits::Limits;
use crate::orientation::Orientation;
use crate::strips::Strips;
use crate::warning::Warning;
use png::{DecodeOptions, DecodingError, Reader, Transformations};
use std::io::{BufRead, Cursor, Seek};

/// Bytes that the `png` crate holds beside rows: windows of the decompressor.
const DECOMPRESSOR: u64 = 320 * 1024;

/// A PNG's header.
pub(super) struct Png {
    width: u32,
    height: u32,
    interlaced: bool,
    orientation: Orientation,
    /// Whether the header, the palette or pixel data fails its checksum.
    damaged: bool,
    /// Bytes of the largest EXIF chunk.
    exif: u64,
}

impl Png {
    pub(super) fn read_header(bytes: &[u8]) -> Result<Png, Error> {
        let mut png = None;
        let mut rest = &bytes[8..];
        while let Some((kind, content, is_valid)) = next_chunk(&mut rest) {
            match (kind, &mut png) {
                (b"IHDR", None) => {
                    png = Some(Png { damaged: !is_valid, ..Png::read_ihdr(content)? });
                }
                (_, None) => break,
                (b"IDAT" | b"PLTE" | b"IHDR", Some(png)) => png.damaged |= !is_valid,
                (b"eXIf", Some(png)) => {
                    png.exif = png.exif.max(content.len() as u64);
                    png.orientation = Orientation::from_exif(content).unwrap_or(png.orientation);
                }
                (b"IEND", _) => break,
                _ => {}
            }
        }
        png.ok_or_else(|| undecodable("its header is missing"))
    }

    fn read_ihdr(content: &[u8]) -> Result<Png, Error> {
        let [w3, w2, w1, w0, h3, h2, h1, h0, _, _, _, _, interlaced, ..] = content else {
            return Err(undecodable("its header is too short"));
        };
        Ok(Png {
            width: u32::from_be_bytes([*w3, *w2, *w1, *w0]),
            height: u32::from_be_bytes([*h3, *h2, *h1, *h0]),
            interlaced: *interlaced != 0,
            orientation: Orientation::default(),
            damaged: false,
            exif: 0,
        })
    }

    fn reader<'a>(&self, bytes: &'a [u8], limits: &Limits) -> Result<PngReader<'a>, Error> {
        let mut options = DecodeOptions::default();
        // Compressed text and profiles are not decompressed. Checksums were compared before.
        options.set_ignore_text_chunk(true);
        options.set_ignore_iccp_chunk(true);
        options.set_ignore_checksums(true);
        let mut decoder = png::Decoder::new_with_options(Cursor::new(bytes), options);
        let bytes = usize::try_from(limits.max_memory).unwrap_or(usize::MAX);
        decoder.set_limits(png::Limits { bytes });
        // Palettes to RGB, transparent colours to alpha, 1 to 16 bits to 8 (the upper byte).
        decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
        decoder.read_info().map_err(undecodable)
    }
}

type PngReader<'a> = Reader<Cursor<&'a [u8]>>;

/// Type and content of the next chunk, and whether its checksum is right. A chunk that is cut short
/// is the last.
fn next_chunk<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8; 4], &'a [u8], bool)> {
    let length = u32::from_be_bytes(*rest.first_chunk::<4>()?) as usize;
    let typed = &rest[4..];
    let kind = typed.first_chunk::<4>()?;
    let end = length.checked_add(4)?;
    let Some(checked) = typed.get(..end) else {
        *rest = &[];
        // The end of pixel data: nothing is wrong with what is there.
        return Some((kind, &typed[4..], true));
    };
    let is_critical = kind[0].is_ascii_uppercase();
    let is_valid = match typed[end..].first_chunk::<4>() {
        Some(checksum) if is_critical => {
            let mut crc = flate2::Crc::new();
            crc.update(checked);
            crc.sum() == u32::from_be_bytes(*checksum)
        }
        _ => true,
    };
    *rest = typed.get(end + 4..).unwrap_or_default();
    Some((kind, &checked[4..], is_valid))
}

fn undecodable(reason: impl ToString) -> Error {
    Error::undecodable("PNG", reason)
}

impl Decoder for Png {
    fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn orientation(&self) -> Orientation {
        self.orientation
    }

    fn memory(&self) -> u64 {
        let (width, height) = (u64::from(self.width), u64::from(self.height));
        // Rows of at most four channels: as read (16 bits), unfiltered, and expanded.
        let rows = 40 * width;
        let whole = if self.interlaced { 4 * width * height } else { 0 };
        // The crate copies EXIF data from a buffer that doubles as it grows.
        let exif = 3 * self.exif;
        DECOMPRESSOR + rows + whole + exif + Strips::memory(self.width as usize)
    }

    fn decode(
        &self,
        bytes: &[u8],
        limits: &Limits,
        rows: &mut RowSink<'_>,
    ) -> Result<Vec<Warning>, Error> {
        let mut reader = self.reader(bytes, limits)?;
        let channels = reader.output_color_type().0.samples();
        let mut strips = Strips::new(self.width as usize, rows);
        if self.interlaced {
            let size = reader.output_buffer_size().ok_or_else(|| undecodable("it is too large"))?;
            let mut samples = vec![0; size];
            reader.next_frame(&mut samples).map_err(undecodable)?;
            for row in samples.chunks_exact(channels * self.width as usize) {
                strips.row(|rgb| write_row(row, channels, rgb))?;
            }
        } else {
            write_rows(&mut reader, channels, &mut strips)?;
        }
        let mut warnings = strips.finish("PNG", self.height as usize)?;
        if self.damaged {
            warnings.push(Warning::Damaged);
        }
        Ok(warnings)
    }
}

/// Writes the rows up to the end of the file, or of the picture.
fn write_rows<R: BufRead + Seek>(
    reader: &mut Reader<R>,
    channels: usize,
    strips: &mut Strips<'_, '_>,
) -> Result<(), Error> {
    loop {
        match reader.next_row() {
            Ok(Some(row)) => strips.row(|rgb| write_row(row.data(), channels, rgb))?,
            Ok(None) => return Ok(()),
            Err(DecodingError::IoError(error))
                if error.kind() == std::io::ErrorKind::UnexpectedEof =>
            {
                return Ok(());
            }
            Err(error) => return Err(undecodable(error)),
        }
    }
}
