//! TIFF 6.0 and BigTIFF: strips and tiles, chunky and planar, 1 to 16 bits a sample; grey, RGB,
//! palette, CMYK and YCbCr (subsampled only in JPEG compression). The first page is read, a row of strips or tiles at
//! a time.

mod colour;
mod compression;
mod directory;
mod error;
mod fax;
mod jpeg;
mod samples;

use crate::decoder::{Decoder, RowSink};
use crate::error::Error;
use crate::limits::Limits;
use crate::orientation::Orientation;
use crate::strips::{Strips, incomplete};
use crate::warning::Warning;
use colour::{Alpha, Colour};
use compression::Compression;
use directory::{Directory, Field};
use error::{undecodable, unsupported};
use samples::Samples;
use std::borrow::Cow;

/// The header of a TIFF's first page.
pub(super) struct Tiff {
    directory: Directory,
    width: usize,
    height: usize,
    orientation: Orientation,
    colour: Colour,
    alpha: Alpha,
    compression: Compression,
    /// The bits of each byte are reversed.
    reversed: bool,
    planar: bool,
    /// Of a pixel, in all planes.
    samples: usize,
    layout: Samples,
    /// Width and height of a strip or tile.
    chunk: (usize, usize),
    /// Where the chunks lie, and their lengths; none for a single one up to the end of the file.
    offsets: Field,
    lengths: Option<Field>,
    /// JPEGs in the file have RGB, not YCbCr.
    is_rgb: bool,
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
        let photometric = tag(262).unwrap_or(1);
        let compression = Compression::new(tag(259).unwrap_or(1), tag(292).unwrap_or(0))?;
        let mut colour = Colour::new(photometric)?;
        let mut samples = tag(277).unwrap_or(1) as usize;
        let mut layout = sample_layout(&directory, bytes, samples)?;
        let mut planar = tag(284) == Some(2) && samples > 1;
        let is_rgb = colour == Colour::Rgb;
        if compression == Compression::Jpeg {
            let is_read = matches!(colour, Colour::BlackIsZero | Colour::Rgb | Colour::YCbCr);
            if !is_read || planar || layout.bits() != 8 {
                return Err(unsupported("JPEG compression of these colours"));
            }
            // What the strips and tiles are decoded to.
            (colour, samples, planar) = (Colour::Rgb, 3, false);
            layout = Samples::new(8, 1, directory.order, false)?;
        }
        if !(colour.samples()..=64).contains(&samples) {
            return Err(undecodable(format!("it has {samples} samples a pixel")));
        }
        if let Colour::Palette(palette) = &mut colour {
            read_palette(palette, &directory, bytes, &layout)?;
        }
        let subsampling = |index| {
            directory.field(530).map_or(Some(2), |f| f.value(bytes, directory.order, index))
        };
        if colour == Colour::YCbCr && (subsampling(0), subsampling(1)) != (Some(1), Some(1)) {
            return Err(unsupported("subsampled YCbCr colours"));
        }
        if compression.is_fax() && (layout.bits() != 1 || samples != 1 || width > 65_535) {
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
            alpha: alpha(&directory, bytes, &colour, samples),
            colour,
            compression,
            reversed: tag(266) == Some(2),
            planar,
            samples,
            layout,
            chunk,
            offsets,
            lengths: directory.field(325).or_else(|| directory.field(279)),
            is_rgb,
            tables: directory.field(347),
            joined_planes: false,
            copied: 0,
            directory,
        };
        let (across, down) = tiff.chunks();
        let needed = (across as u64 * down as u64).saturating_mul(tiff.planes() as u64);
        tiff.joined_planes = tiff.planar
            && (across, down, tiff.offsets.count()) == (1, 1, 1)
            && tiff.compression == Compression::None;
        if (tiff.offsets.count() as u64) < needed && !tiff.joined_planes {
            return Err(undecodable("it has too few strips or tiles"));
        }
        if tiff.reversed || tiff.tables.is_some() {
            let order = tiff.directory.order;
            let length = |index| tiff.lengths.and_then(|l| l.value(bytes, order, index));
            let largest = (0..tiff.offsets.count()).map(|index| length(index).unwrap_or(u64::MAX));
            let tables = tiff.tables.map_or(0, |tables| tables.count() as u64);
            tiff.copied = largest.max().unwrap_or(0).min(bytes.len() as u64) + tables;
        }
        Ok(tiff)
    }

    fn planes(&self) -> usize {
        if self.planar { self.samples } else { 1 }
    }

    /// Chunks in a row, and their rows.
    fn chunks(&self) -> (usize, usize) {
        (self.width.div_ceil(self.chunk.0), self.height.div_ceil(self.chunk.1))
    }

    /// Bytes of a row of a chunk, and those of a whole chunk. u64: both are the file's word.
    fn chunk_bytes(&self) -> (u64, u64) {
        let samples = if self.planar { 1 } else { self.samples };
        let row = (self.chunk.0 as u64 * samples as u64 * self.layout.bits() as u64).div_ceil(8);
        (row, row.saturating_mul(self.chunk.1 as u64))
    }

    /// A chunk, decompressed. It may end early.
    fn read_chunk<'a>(
        &self,
        bytes: &'a [u8],
        index: usize,
        size: usize,
        limits: &Limits,
    ) -> Result<Cow<'a, [u8]>, Error> {
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
            let plain = self.compression.decompress(&data, size, self.chunk.0);
            return Ok(Cow::Owned(plain.into_owned()));
        }
        if self.compression == Compression::Jpeg {
            let tables = self.tables.and_then(|tables| tables.bytes(bytes)).unwrap_or_default();
            let pixels = jpeg::decompress(tables, data, self.is_rgb, self.chunk, limits);
            return pixels.map(Cow::Owned);
        }
        Ok(self.compression.decompress(data, size, self.chunk.0))
    }

    /// Decodes row `chunk_row` of the chunks; gives how many of its rows are missing.
    fn decode_chunk_row(
        &self,
        bytes: &[u8],
        chunk_row: usize,
        limits: &Limits,
        strips: &mut Strips<'_, '_>,
    ) -> Result<usize, Error> {
        let (across, down) = self.chunks();
        let (row_bytes, chunk_bytes) = self.chunk_bytes();
        let row_bytes = row_bytes as usize;
        let rows = self.chunk.1.min(self.height - chunk_row * self.chunk.1);
        let size = chunk_bytes as usize;
        let chunks = (0..self.planes())
            .flat_map(|plane| (0..across).map(move |column| (plane, column)))
            .map(|(plane, column)| (plane * down + chunk_row) * across + column)
            .map(|index| self.read_chunk(bytes, index, size, limits))
            .collect::<Result<Vec<Cow<'_, [u8]>>, Error>>()?;
        let per_chunk = if self.planar { 1 } else { self.samples };
        let mut pixels = vec![0; self.width * self.samples];
        let mut scratch = vec![0; self.chunk.0 * per_chunk];
        let mut missing = 0;
        for row in 0..rows {
            let mut is_known = true;
            for (number, chunk) in chunks.iter().enumerate() {
                let (plane, column) = (number / across, number % across);
                let Some(line) = chunk.get(row * row_bytes..(row + 1) * row_bytes) else {
                    is_known = false;
                    break;
                };
                self.layout.unpack(line, per_chunk, &mut scratch);
                let first = column * self.chunk.0;
                let width = self.chunk.0.min(self.width - first);
                if self.planar {
                    let to = pixels[first * self.samples + plane..].iter_mut();
                    to.step_by(self.samples).zip(&scratch[..width]).for_each(|(to, &v)| *to = v);
                } else {
                    pixels[first * self.samples..][..width * self.samples]
                        .copy_from_slice(&scratch[..width * self.samples]);
                }
            }
            missing += usize::from(!is_known);
            strips.row(|rgb| {
                if is_known {
                    for (to, pixel) in rgb.iter_mut().zip(pixels.chunks_exact(self.samples)) {
                        *to = self.colour.rgb(pixel, self.alpha);
                    }
                }
            })?;
        }
        Ok(missing)
    }
}

fn sample_layout(directory: &Directory, bytes: &[u8], samples: usize) -> Result<Samples, Error> {
    let tag = |tag: u16| directory.first(bytes, tag);
    match tag(339).unwrap_or(1) {
        1 | 4 => {}
        2 => return Err(unsupported("signed samples")),
        3 => return Err(unsupported("floating-point samples")),
        _ => return Err(unsupported("complex samples")),
    }
    let bits = directory.field(258);
    let value = |index| bits.and_then(|bits| bits.value(bytes, directory.order, index));
    let first = value(0).unwrap_or(1);
    let count = bits.map_or(0, |bits| bits.count().min(samples));
    if (1..count).any(|index| value(index) != Some(first)) {
        return Err(unsupported("samples of different sizes"));
    }
    let has_palette = tag(262) == Some(3);
    Samples::new(first, tag(317).unwrap_or(1), directory.order, has_palette)
}

/// Reads the colour map: 16 bits a value, all reds first.
fn read_palette(
    palette: &mut [[u8; 3]; 256],
    directory: &Directory,
    bytes: &[u8],
    layout: &Samples,
) -> Result<(), Error> {
    let map = directory.field(320).ok_or_else(|| undecodable("it has no colour map"))?;
    if layout.bits() > 8 {
        return Err(unsupported("a palette of more than 256 colours"));
    }
    let colours = 1 << layout.bits();
    for (index, colour) in palette.iter_mut().take(colours).enumerate() {
        for (channel, to) in colour.iter_mut().enumerate() {
            let value = map.value(bytes, directory.order, channel * colours + index);
            *to = (value.ok_or_else(|| undecodable("its colour map is cut short"))? >> 8) as u8;
        }
    }
    Ok(())
}

fn alpha(directory: &Directory, bytes: &[u8], colour: &Colour, samples: usize) -> Alpha {
    if samples == colour.samples() {
        return Alpha::None;
    }
    match directory.first(bytes, 338) {
        Some(1) => Alpha::Associated,
        Some(2) => Alpha::Unassociated,
        // As Pillow reads RGB with a fourth sample that is not described.
        None if *colour == Colour::Rgb && samples == 4 => Alpha::Unassociated,
        _ => Alpha::None,
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
        let rows = (self.width as u64 + self.chunk.0 as u64) * self.samples as u64;
        let tables = match self.compression {
            Compression::Jpeg => jpeg::memory(self.chunk.0),
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
        let mut missing = 0;
        for chunk_row in 0..self.chunks().1 {
            limits.check_time()?;
            missing += self.decode_chunk_row(bytes, chunk_row, limits, &mut strips)?;
        }
        let warnings = incomplete("TIFF", missing, self.height)?;
        strips.flush()?;
        Ok(warnings)
    }
}
