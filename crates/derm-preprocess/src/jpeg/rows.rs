//! Decoding a band (a row of MCUs) at a time: three bands of samples are all that is held.

use super::bits::Bits;
use super::blocks::sequential;
use super::dct::{inverse, scaled};
use super::header::{Header, undecodable};
use super::huffman::HuffmanTable;
use super::planes::Bands;
use super::upsample::RowWriter;
use crate::decoder::RowSink;
use crate::error::Error;
use crate::limits::Limits;
use crate::strips::incomplete;
use crate::warning::Warning;

/// Bytes of a strip of decoded rows.
const STRIP: usize = 512 * 1024;

/// Decodes bands, from the top.
pub(super) trait BandSource {
    /// Decodes the next band, whose index is `band`, into its part of the ring.
    fn decode_band(&mut self, header: &Header, bands: &mut Bands, band: usize);
}

/// Decodes all bands and passes on the picture's rows.
pub(super) fn emit(
    header: &Header,
    source: &mut dyn BandSource,
    limits: &Limits,
    rows: &mut RowSink<'_>,
) -> Result<(), Error> {
    let (_, count) = header.mcus();
    let height = 8 * header.largest().1;
    let strip_bytes = strip_rows(header) * header.width * 3;
    let mut strip: Vec<u8> = Vec::with_capacity(strip_bytes);
    let mut bands = Bands::new(header);
    let mut writer = RowWriter::new(header);
    for band in 0..=count {
        limits.check_time()?;
        if band < count {
            source.decode_band(header, &mut bands, band);
        }
        // Upsampling needs the rows above and below: a band is finished when the next is decoded.
        let Some(ready) = band.checked_sub(1) else { continue };
        for row in ready * height..((ready + 1) * height).min(header.height) {
            let start = strip.len();
            strip.resize(start + 3 * header.width, 0);
            writer.write(header, &bands, row, &mut strip[start..]);
            if strip.len() == strip_bytes {
                rows(&mut strip)?;
                strip.clear();
            }
        }
    }
    if !strip.is_empty() {
        rows(&mut strip)?;
    }
    Ok(())
}

/// Bytes that [`emit`] holds.
pub(super) fn memory(header: &Header) -> usize {
    Bands::memory(header) + RowWriter::memory(header) + strip_rows(header) * header.width * 3
}

fn strip_rows(header: &Header) -> usize {
    (STRIP / (3 * header.width)).clamp(1, 128).min(header.height)
}

/// A component of the scan, with what its blocks are decoded with.
struct Decoding<'h> {
    /// Index of the frame's component.
    index: usize,
    across: usize,
    down: usize,
    dc: &'h HuffmanTable,
    ac: &'h HuffmanTable,
    quantisation: [f32; 64],
    predictor: i32,
}

/// The one scan of a sequential picture, as far as it was read.
pub(super) struct OneScan<'a, 'h> {
    bits: Bits<'a>,
    components: Vec<Decoding<'h>>,
    restart_interval: usize,
    /// MCUs up to the next restart marker, and its number.
    left: usize,
    next_restart: u8,
    lost_mcus: usize,
    block: [f32; 64],
}

impl<'a, 'h> OneScan<'a, 'h> {
    pub(super) fn new(header: &'h Header, bytes: &'a [u8]) -> Result<OneScan<'a, 'h>, Error> {
        let tables = &header.tables;
        let missing = || undecodable("a table is missing");
        let mut components = Vec::with_capacity(header.components.len());
        for scan in &header.scan.components {
            let component = header.components[scan.index];
            let quantisation = tables.quantisation[component.quantisation].ok_or_else(missing)?;
            components.push(Decoding {
                index: scan.index,
                across: component.across,
                down: component.down,
                dc: tables.dc[scan.dc].as_ref().ok_or_else(missing)?,
                ac: tables.ac[scan.ac].as_ref().ok_or_else(missing)?,
                quantisation: scaled(quantisation),
                predictor: 0,
            });
        }
        Ok(OneScan {
            bits: Bits::new(&bytes[header.data..]),
            components,
            restart_interval: tables.restart_interval,
            left: tables.restart_interval,
            next_restart: 0,
            lost_mcus: 0,
            block: [0.0; 64],
        })
    }

    /// What was wrong. An error where most of the picture is missing.
    pub(super) fn finish(self, header: &Header) -> Result<Vec<Warning>, Error> {
        let (across, down) = header.mcus();
        warnings(self.lost_mcus, across * down, self.bits.is_exhausted(), self.bits.damaged)
    }

    fn restart(&mut self) {
        self.bits.restart(self.next_restart);
        self.next_restart = (self.next_restart + 1) % 8;
        self.left = self.restart_interval;
        self.components.iter_mut().for_each(|component| component.predictor = 0);
    }
}

/// Warnings of a scan that lost `lost` of `all` MCUs.
pub(super) fn warnings(
    lost: usize,
    all: usize,
    ends_early: bool,
    damaged: bool,
) -> Result<Vec<Warning>, Error> {
    let mut warnings = incomplete("JPEG", lost, all)?;
    if ends_early && warnings.is_empty() {
        warnings.push(Warning::Incomplete { percent: 0 });
    }
    if damaged {
        warnings.push(Warning::Damaged);
    }
    Ok(warnings)
}

impl BandSource for OneScan<'_, '_> {
    fn decode_band(&mut self, header: &Header, bands: &mut Bands, band: usize) {
        for mcu in 0..header.mcus().0 {
            if self.restart_interval > 0 {
                if self.left == 0 {
                    self.restart();
                }
                self.left -= 1;
            }
            let is_lost = self.bits.is_exhausted();
            self.lost_mcus += usize::from(is_lost);
            for component in &mut self.components {
                let plane = &mut bands.0[component.index];
                let top = plane.top(band);
                for block in 0..component.across * component.down {
                    let (down, across) = (block / component.across, block % component.across);
                    let last = match is_lost {
                        // Mid-grey, as in libjpeg.
                        true => 0,
                        false => sequential(
                            &mut self.bits,
                            (component.dc, component.ac),
                            &component.quantisation,
                            &mut component.predictor,
                            &mut self.block,
                        ),
                    };
                    let row = top + 8 * down;
                    let column = 8 * (mcu * component.across + across);
                    let to = &mut plane.samples[row * plane.stride + column..];
                    inverse(&mut self.block, last, to, plane.stride);
                }
            }
        }
    }
}
