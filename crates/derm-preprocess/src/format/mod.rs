//! Formats: which one a file has, and its decoder.

mod alpha;
mod bmp;
mod gif;
mod pixels;
mod png;
mod tiff;
mod unsupported;
mod webp;

use crate::decoder::Decoder;
use crate::error::Error;
use crate::jpeg::Jpeg;
pub(crate) use pixels::Pixels;
use std::fmt;

/// A format that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// WebP.
    WebP,
    /// BMP.
    Bmp,
    /// GIF; the first frame is read.
    Gif,
    /// TIFF; the first page is read.
    Tiff,
    /// Pixels in memory, without a file.
    Pixels,
}

impl Format {
    /// The format of a file, from its first bytes.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another known format, else [`Error::UnknownFormat`].
    pub(crate) fn guess(bytes: &[u8]) -> Result<Format, Error> {
        match bytes {
            [0xff, 0xd8, 0xff, ..] => Ok(Format::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Ok(Format::Png),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Format::WebP),
            [b'B', b'M', ..] => Ok(Format::Bmp),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Ok(Format::Gif),
            [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Ok(Format::Tiff),
            [b'I', b'I', 43, 0, ..] | [b'M', b'M', 0, 43, ..] => Ok(Format::Tiff),
            _ => Err(unsupported::error(bytes)),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::Jpeg => "JPEG",
            Format::Png => "PNG",
            Format::WebP => "WebP",
            Format::Bmp => "BMP",
            Format::Gif => "GIF",
            Format::Tiff => "TIFF",
            Format::Pixels => "array",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Reads a file's header.
pub(crate) fn read_header(format: Format, bytes: &[u8]) -> Result<Box<dyn Decoder>, Error> {
    Ok(match format {
        Format::Jpeg => Box::new(Jpeg::read_header(bytes)?),
        Format::Png => Box::new(png::Png::read_header(bytes)?),
        Format::WebP => Box::new(webp::WebP::read_header(bytes)?),
        Format::Bmp => Box::new(bmp::Bmp::read_header(bytes)?),
        Format::Gif => Box::new(gif::Gif::read_header(bytes)?),
        Format::Tiff => Box::new(tiff::Tiff::read_header(bytes)?),
        // They have no header.
        Format::Pixels => return Err(Error::UnknownFormat),
    })
}
