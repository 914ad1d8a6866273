//! TIFF 6.0 and BigTIFF: strips and tiles, chunky and planar, 1 to 16 bits a sample; grey, RGB,
//! palette, CMYK and YCbCr (subsampled only in JPEG compression). The first page is read, a row of
//! strips or tiles at a time.

mod colour;
mod compression;
mod directory;
mod error;
mod fax;
mod jpeg;
mod pixels;
mod samples;

use crate::decoder::{Decoder, RowSink};
use crate::error::Error;
use crate::limits::Limits;
use crate::orientation::Orientation;
use crate::strips::{Strips, incomplete};
use crate::warning::Warning;
use compression::Compression;
use directory::{Directory, Field};
use error::undecodable;
use pixels::Pixels;
use std::borrow::Cow;

/// 25 megapixels in tiles of 16x16 pixels are fewer. Each one costs time, however small it is.
const MAX_CHUNKS: u64 = 1 << 17;

/// The header of a TIFF's first page.
pub(super) struct Tiff {
    directory: Directory,
    width: usize,
    height: usize,
    orientation: Orientation,
    pixels: Pixels,
    compression: Compression,
    /// The bits of each byte are reversed; never those of JPEGs.
    reversed: bool,
    /// Width and height of a strip or tile.
    chunk: (usize, usize),
    /// Where the chunks lie, and their lengths; none for a single one up to the end of the file.
    offsets: Field,
    lengths: Option<Field>,
    /// Tables of JPEGs.
    tables: Option<Field>,
    /// One strip holds all planes, one after the other, as some writers have it.
    joined_planes: bool,
    /// Bytes of the largest strip or tile that is copied before it is decompressed.
    copied: u64,
}

impl Tiff {
    pub(super) fn read_header(bytes: &[u8]) -> Result<Tiff, Error> {
        let directory =
            Directory::read(bytes).ok_or_else(|| undecodable("its directory is cut short"))?;
        let tag = |tag: u16| directory.first(bytes, tag);
        let side = |number: u16, name: &str| {
            let value = tag(number).and_then(|value| u32::try_from(value).ok());
            value.map(|v| v as usize).ok_or_else(|| undecodable(format!("it has no {name}")))
        };
        let (width, height) = (side(256, "width")?, side(257, "height")?);
        let compression = Compression::new(tag(259).unwrap_or(1), tag(292).unwrap_or(0))?;
        let pixels = Pixels::read(&directory, bytes, compression)?;
        let is_one_bit = pixels.layout.bits() == 1 && pixels.samples == 1;
        if compression.is_fax() && (!is_one_bit || width > 65_535) {
            return Err(undecodable("CCITT compression needs one bit a pixel"));
        }
        let (offsets, chunk) = match directory.field(324) {
            Some(tiles) => (Some(tiles), (side(322, "tile width")?, side(323, "tile height")?)),
            None => {
                let rows = tag(278).map_or(height, |rows| rows.min(height as u64) as usize);
                (directory.field(273), (width, rows))
            }
        };
        let offsets = offsets.ok_or_else(|| undecodable("it has no pixels"))?;
        if chunk.0 == 0 || chunk.1 == 0 {
            return Err(undecodable("its strips or tiles have no pixels"));
        }
        let mut tiff = Tiff {
            width,
            height,
            orientation: tag(274).and_then(Orientation::from_value).unwrap_or_default(),
            pixels,
            compression,
            reversed: tag(266) == Some(2) && compression != Compression::Jpeg,
            chunk,
            offsets,
            lengths: directory.field(325).or_else(|| directory.field(279)),
            tables: directory.field(347),
            joined_planes: false,
            copied: 0,
            directory,
        };
        let (across, down) = tiff.chunks();
        let needed = (across as u64 * down as u64).saturating_mul(tiff.planes() as u64);
        tiff.joined_planes = tiff.pixels.planar
            && (across, down, tiff.offsets.count()) == (1, 1, 1)
            && tiff.compression == Compression::None;
        if (tiff.offsets.count() as u64) < needed && !tiff.joined_planes {
            return Err(undecodable("it has too few strips or tiles"));
        }
        if needed > MAX_CHUNKS {
            return Err(undecodable(format!("it has more than {MAX_CHUNKS} strips or tiles")));
        }
        if tiff.reversed || tiff.tables.is_some() {
            let order = tiff.directory.order;
            let length = |index| tiff.lengths.and_then(|l| l.value(bytes, order, index));
            // Both counts are the file's word.
            let used = tiff.offsets.count().min(needed as usize);
            let largest = (0..used).map(|i| length(i).filter(|&l| l > 0).unwrap_or(u64::MAX));
            let tables = tiff.tables.map_or(0, |tables| tables.count());
            let [largest, tables] = [largest.max().unwrap_or(0), tables as u64];
            tiff.copied = largest.min(bytes.len() as u64) + tables.min(bytes.len() as u64);
        }
        Ok(tiff)
    }

    fn planes(&self) -> usize {
        if self.pixels.planar { self.pixels.samples } else { 1 }
    }

    /// Chunks in a row, and their rows.
    fn chunks(&self) -> (usize, usize) {
        (self.width.div_ceil(self.chunk.0), self.height.div_ceil(self.chunk.1))
    }

    /// Bytes of a row of a chunk, and those of a whole chunk. u64: both are the file's word.
    fn chunk_bytes(&self) -> (u64, u64) {
        let samples = if self.pixels.planar { 1 } else { self.pixels.samples };
        let row =
            (self.chunk.0 as u64 * samples as u64 * self.pixels.layout.bits() as u64).div_ceil(8);
        (row, row.saturating_mul(self.chunk.1 as u64))
    }

    /// A chunk, decompressed, and whether it is damaged. It may end early.
    fn read_chunk<'a>(
        &self,
        bytes: &'a [u8],
        index: usize,
        size: usize,
        limits: &Limits,
    ) -> Result<(Cow<'a, [u8]>, bool), Error> {
        limits.check_time()?;
        let order = self.directory.order;
        let (plane, index) = if self.joined_planes { (index as u64, 0) } else { (0, index) };
        let start = self.offsets.value(bytes, order, index).unwrap_or(u64::MAX);
        let start = start.saturating_add(plane.saturating_mul(size as u64));
        let data = usize::try_from(start).ok().and_then(|start| bytes.get(start..));
        let data = data.unwrap_or_default();
        let length = self.lengths.and_then(|lengths| lengths.value(bytes, order, index));
        // Writers exist that store a length of 0.
        let length = length.filter(|&length| length > 0).unwrap_or(u64::MAX);
        let data = &data[..usize::try_from(length).unwrap_or(usize::MAX).min(data.len())];
        if self.reversed {
            let data: Vec<u8> = data.iter().map(|byte| byte.reverse_bits()).collect();
            let (plain, damaged) =
                self.compression.decompress(&data, size, self.chunk.0, limits)?;
            return Ok((Cow::Owned(plain.into_owned()), damaged));
        }
        if self.compression == Compression::Jpeg {
            let tables = self.tables.and_then(|tables| tables.bytes(bytes)).unwrap_or_default();
            let (pixels, damaged) =
                jpeg::decompress(tables, data, self.pixels.is_rgb, self.chunk, limits)?;
            return Ok((Cow::Owned(pixels), damaged));
        }
        self.compression.decompress(data, size, self.chunk.0, limits)
    }

    /// Decodes row `chunk_row` of the chunks; adds what is wrong to `faults`.
    fn decode_chunk_row(
        &self,
        bytes: &[u8],
        chunk_row: usize,
        limits: &Limits,
        faults: &mut Faults,
        strips: &mut Strips<'_, '_>,
    ) -> Result<(), Error> {
        let (across, down) = self.chunks();
        let (row_bytes, chunk_bytes) = self.chunk_bytes();
        let row_bytes = row_bytes as usize;
        let rows = self.chunk.1.min(self.height - chunk_row * self.chunk.1);
        let size = chunk_bytes as usize;
        let mut chunks = Vec::with_capacity(across * self.planes());
        for plane in 0..self.planes() {
            for column in 0..across {
                let index = (plane * down + chunk_row) * across + column;
                chunks.push(faults.chunk(self.read_chunk(bytes, index, size, limits))?);
            }
        }
        let per_chunk = if self.pixels.planar { 1 } else { self.pixels.samples };
        let mut pixels = vec![0; self.width * self.pixels.samples];
        let mut scratch = vec![0; self.chunk.0 * per_chunk];
        for row in 0..rows {
            let mut is_known = true;
            for (number, chunk) in chunks.iter().enumerate() {
                let (plane, column) = (number / across, number % across);
                let Some(line) = chunk.get(row * row_bytes..(row + 1) * row_bytes) else {
                    is_known = false;
                    break;
                };
                self.pixels.layout.unpack(line, per_chunk, &mut scratch);
                let first = column * self.chunk.0;
                let width = self.chunk.0.min(self.width - first);
                if self.pixels.planar {
                    let to = pixels[first * self.pixels.samples + plane..].iter_mut();
                    to.step_by(self.pixels.samples)
                        .zip(&scratch[..width])
                        .for_each(|(to, &v)| *to = v);
                } else {
                    pixels[first * self.pixels.samples..][..width * self.pixels.samples]
                        .copy_from_slice(&scratch[..width * self.pixels.samples]);
                }
            }
            faults.missing += usize::from(!is_known);
            strips.row(|rgb| {
                if is_known {
                    for (to, pixel) in rgb.iter_mut().zip(pixels.chunks_exact(self.pixels.samples))
                    {
                        *to = self.pixels.colour.rgb(pixel, self.pixels.alpha);
                    }
                }
            })?;
        }
        Ok(())
    }
}

/// What is wrong with the pixels.
#[derive(Default)]
struct Faults {
    /// Rows.
    missing: usize,
    damaged: bool,
    /// Why the first chunk that could not be decoded could not.
    reason: Option<Error>,
}

impl Faults {
    /// The pixels of a chunk; none where it cannot be decoded.
    fn chunk<'a>(
        &mut self,
        chunk: Result<(Cow<'a, [u8]>, bool), Error>,
    ) -> Result<Cow<'a, [u8]>, Error> {
        match chunk {
            Ok((pixels, damaged)) => {
                self.damaged |= damaged;
                Ok(pixels)
            }
            Err(error @ Error::Undecodable { .. }) => {
                self.reason.get_or_insert(error);
                Ok(Cow::Borrowed(&[]))
            }
            Err(error) => Err(error),
        }
    }

    fn warnings(self, height: usize) -> Result<Vec<Warning>, Error> {
        let incomplete = incomplete("TIFF", self.missing, height);
        let mut warnings = incomplete.map_err(|error| self.reason.unwrap_or(error))?;
        if self.damaged {
            warnings.push(Warning::Damaged);
        }
        Ok(warnings)
    }
}

impl Decoder for Tiff {
    fn size(&self) -> (u32, u32) {
        (self.width as u32, self.height as u32)
    }

    fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// A row of chunks of all planes, one more while it is decompressed, rows of samples, a strip.
    fn memory(&self) -> u64 {
        let chunks = self.chunks().0 as u64 * self.planes() as u64;
        let (_, bytes) = self.chunk_bytes();
        let is_copied = self.compression != Compression::None || self.reversed;
        let held = if is_copied { bytes.saturating_mul(chunks) } else { 0 };
        let list = chunks.saturating_mul(32);
        let rows = (self.width as u64 + self.chunk.0 as u64) * self.pixels.samples as u64;
        let tables = match self.compression {
            Compression::Jpeg => jpeg::memory(self.chunk.0),
            Compression::Fax(_) => fax::memory(self.chunk.0),
            _ => 256 * 1024,
        };
        held.saturating_add(list)
            .saturating_add(self.copied)
            .saturating_add(rows + tables)
            .saturating_add(Strips::memory(self.width))
    }

    fn decode(
        &self,
        bytes: &[u8],
        limits: &Limits,
        rows: &mut RowSink<'_>,
    ) -> Result<Vec<Warning>, Error> {
        let mut strips = Strips::new(self.width, rows);
        let mut faults = Faults::default();
        for chunk_row in 0..self.chunks().1 {
            limits.check_time()?;
            self.decode_chunk_row(bytes, chunk_row, limits, &mut faults, &mut strips)?;
        }
        let warnings = faults.warnings(self.height)?;
        strips.flush()?;
        Ok(warnings)
    }
}
