//! JPEG: baseline files a few rows at a time, the others (progressive, CMYK, ...) as a whole.

mod colour;
mod dct;
mod entropy;
mod header;
mod rows;
mod whole;

use crate::resample::Passes;
use crate::{Error, Limits, Spec};
use header::Header;
use image::metadata::Orientation;

/// Bytes of a strip of decoded rows.
const STRIP: usize = 512 * 1024;

pub(crate) use whole::dimensions;

/// A JPEG whose header was read and found within the limits.
pub(crate) enum Jpeg<'a> {
    Rows(Box<Header<'a>>),
    Whole(Box<whole::Whole<'a>>),
}

impl<'a> Jpeg<'a> {
    pub(crate) fn open(bytes: &'a [u8], limits: &Limits, spec: &Spec) -> Result<Jpeg<'a>, Error> {
        let Some(header) = Header::read(bytes) else {
            return Ok(Jpeg::Whole(Box::new(whole::Whole::open(bytes, limits, spec)?)));
        };
        limits.check_pixels(header.width as u32, header.height as u32)?;
        let jpeg = Jpeg::Rows(Box::new(header));
        limits.check_memory(jpeg.memory(spec))?;
        Ok(jpeg)
    }

    /// Bytes that decoding and resampling hold at once.
    pub(crate) fn memory(&self, spec: &Spec) -> u64 {
        match self {
            Jpeg::Rows(header) => {
                let size = (header.width as u32, header.height as u32);
                rows::memory(header, strip_rows(header))
                    + Passes::memory(spec, size, orientation(header))
            }
            Jpeg::Whole(whole) => whole.memory(spec),
        }
    }

    pub(crate) fn resample(self, spec: &Spec) -> Result<Passes, Error> {
        match self {
            Jpeg::Rows(header) => {
                let size = (header.width as u32, header.height as u32);
                let mut passes = Passes::new(spec, size, size, orientation(&header));
                rows::decode(&header, strip_rows(&header), |strip| passes.push(strip))
                    .ok_or_else(|| whole::reason("it is damaged, or was cut short"))?;
                Ok(passes)
            }
            Jpeg::Whole(whole) => whole.resample(spec),
        }
    }
}

fn orientation(header: &Header<'_>) -> Orientation {
    header.exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms)
}

fn strip_rows(header: &Header<'_>) -> usize {
    (STRIP / (3 * header.width)).clamp(1, 128).min(header.height)
}
