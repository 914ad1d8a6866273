//! JPEG (ITU-T T.81) with Huffman coding and 8 bits a sample: baseline, extended sequential and
//! progressive; grey, YCbCr, RGB, CMYK and YCCK.
//!
//! Damaged and truncated data is decoded as far as libjpeg does, with a warning.

mod bits;
mod blocks;
mod coefficients;
mod colour;
mod dct;
mod header;
mod huffman;
mod planes;
mod rows;
mod segments;
mod tables;
mod upsample;
mod work;

use crate::decoder::{Decoder, RowSink};
use crate::error::Error;
use crate::limits::Limits;
use crate::orientation::Orientation;
use crate::warning::Warning;
use coefficients::Coefficients;
use header::{Colour, Header, undecodable};
use rows::OneScan;

/// A JPEG whose header was read.
pub(crate) struct Jpeg(Header);

impl Jpeg {
    pub(crate) fn read_header(bytes: &[u8]) -> Result<Jpeg, Error> {
        Header::read(bytes).map(Jpeg)
    }

    /// For a JPEG of one scan in another file, which tells whether three components are RGB or YCbCr.
    pub(crate) fn read_embedded(bytes: &[u8], is_rgb: bool) -> Result<Jpeg, Error> {
        let mut header = Header::read(bytes)?;
        if header.components.len() == 3 {
            header.colour = if is_rgb { Colour::Rgb } else { Colour::YCbCr };
        }
        if !header.is_one_scan() || header.components.len() == 4 || header.height == 0 {
            return Err(undecodable("it is not a baseline JPEG of one or three components"));
        }
        Ok(Jpeg(header))
    }
}

impl Decoder for Jpeg {
    fn size(&self) -> (u32, u32) {
        (self.0.width as u32, self.0.height as u32)
    }

    fn orientation(&self) -> Orientation {
        self.0.orientation
    }

    fn memory(&self) -> u64 {
        let coefficients = if self.0.is_one_scan() { 0 } else { Coefficients::memory(&self.0) };
        (coefficients + rows::memory(&self.0)) as u64
    }

    fn decode(
        &self,
        bytes: &[u8],
        limits: &Limits,
        rows: &mut RowSink<'_>,
    ) -> Result<Vec<Warning>, Error> {
        let header = &self.0;
        if header.is_one_scan() {
            let mut scan = OneScan::new(header, bytes)?;
            rows::emit(header, &mut scan, limits, rows)?;
            return scan.finish(header);
        }
        let (mut coefficients, warnings) = Coefficients::read(header, bytes, limits)?;
        rows::emit(header, &mut coefficients, limits, rows)?;
        Ok(warnings)
    }
}
