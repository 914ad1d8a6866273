//! Pictures of several scans (progressive, or a scan for each component): all coefficients are held
//! until the last scan, then bands are decoded from them.

use super::bits::Bits;
use super::blocks::{Block, ac_first, ac_refine, dc_first, dc_refine, sequential};
use super::dct::{inverse, scaled};
use super::header::{Header, ScanHeader, undecodable};
use super::huffman::HuffmanTable;
use super::planes::Bands;
use super::rows::{BandSource, warnings};
use super::segments::{EOI, SOS, Segments};
use super::tables::Tables;
use super::work::Work;
use crate::error::Error;
use crate::limits::Limits;
use crate::warning::Warning;

/// The coefficients of one component.
struct Plane {
    blocks: Vec<Block>,
    /// Blocks in a row, in whole MCUs.
    stride: usize,
    /// Blocks that the component's true size needs.
    size: (usize, usize),
    /// The table in force at the component's first scan; none before it.
    quantisation: Option<[f32; 64]>,
    /// Blocks whose DC coefficient was read.
    known: usize,
}

pub(super) struct Coefficients(Vec<Plane>);

impl Coefficients {
    /// Bytes that all coefficients take.
    pub(super) fn memory(header: &Header) -> usize {
        let (across, down) = header.mcus();
        let blocks: usize = header.components.iter().map(|c| c.across * c.down).sum();
        across * down * blocks * size_of::<Block>()
    }

    fn new(header: &Header) -> Coefficients {
        let (across, down) = header.mcus();
        let plane = |component| {
            let (width, height) = header.component_size(component);
            let stride = across * component.across;
            Plane {
                blocks: vec![[0; 64]; stride * down * component.down],
                stride,
                size: (width.div_ceil(8), height.div_ceil(8)),
                quantisation: None,
                known: 0,
            }
        };
        Coefficients(header.components.iter().map(plane).collect())
    }

    /// Reads all scans.
    pub(super) fn read(
        header: &Header,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<(Coefficients, Vec<Warning>), Error> {
        Work::check(header, bytes)?;
        let mut coefficients = Coefficients::new(header);
        let mut tables = header.tables.clone();
        let mut scan = Some(header.scan.clone());
        let mut segments = Segments::new(bytes, header.data);
        // Counted again: damaged entropy-coded data may hide scans from the first look.
        let (mut ends_early, mut damaged, mut work) = (false, false, Work::default());
        while let Some(this) = scan.take() {
            work.add(&this, header)?;
            let mut reader = Scan::new(&this, &tables, &bytes[segments.position..]);
            reader.read(header, &mut coefficients, limits)?;
            ends_early |= reader.ends_early;
            damaged |= reader.bits.damaged;
            segments.position = bytes.len() - reader.bits.rest().len();
            let mut has_end = false;
            while let Some((marker, content)) = segments.next() {
                match marker {
                    SOS => {
                        let found =
                            ScanHeader::read(content, &header.components, header.progressive)?;
                        scan = Some(found);
                        break;
                    }
                    EOI => {
                        has_end = true;
                        break;
                    }
                    marker => tables
                        .read(marker, content)
                        .ok_or_else(|| undecodable("a table is invalid"))?,
                }
            }
            ends_early |= scan.is_none() && !has_end;
        }
        let size = |plane: &Plane| plane.size.0 * plane.size.1;
        let all: usize = coefficients.0.iter().map(size).sum();
        // A block may be read twice: that makes up for none of another component.
        let lost = coefficients.0.iter().map(|plane| size(plane).saturating_sub(plane.known)).sum();
        Ok((coefficients, warnings(lost, all, ends_early, damaged)?))
    }
}

/// One scan, as far as it was read.
struct Scan<'a, 's> {
    header: &'s ScanHeader,
    tables: &'s Tables,
    bits: Bits<'a>,
    predictors: [i32; 4],
    end_run: u32,
    left: usize,
    next_restart: u8,
    ends_early: bool,
}

impl<'a, 's> Scan<'a, 's> {
    fn new(header: &'s ScanHeader, tables: &'s Tables, data: &'a [u8]) -> Scan<'a, 's> {
        Scan {
            header,
            tables,
            bits: Bits::new(data),
            predictors: [0; 4],
            end_run: 0,
            left: tables.restart_interval,
            next_restart: 0,
            ends_early: false,
        }
    }

    fn read(
        &mut self,
        frame: &Header,
        coefficients: &mut Coefficients,
        limits: &Limits,
    ) -> Result<(), Error> {
        for scan in &self.header.components {
            let plane = &mut coefficients.0[scan.index];
            let table = self.tables.quantisation[frame.components[scan.index].quantisation];
            plane.quantisation = plane.quantisation.or(table);
            if plane.quantisation.is_none() {
                return Err(undecodable("a table is missing"));
            }
        }
        if let [only] = self.header.components[..] {
            // Not interleaved: an MCU is a block, and there is none outside the component.
            let (across, down) = coefficients.0[only.index].size;
            for row in 0..down {
                limits.check_time()?;
                for column in 0..across {
                    self.begin_mcu();
                    self.block(0, &mut coefficients.0[only.index], (row, column))?;
                }
            }
            return Ok(());
        }
        let (across, down) = frame.mcus();
        for mcu_row in 0..down {
            limits.check_time()?;
            for mcu in 0..across {
                self.begin_mcu();
                for (number, scan) in self.header.components.iter().enumerate() {
                    let component = frame.components[scan.index];
                    for block in 0..component.across * component.down {
                        let row = mcu_row * component.down + block / component.across;
                        let column = mcu * component.across + block % component.across;
                        self.block(number, &mut coefficients.0[scan.index], (row, column))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn begin_mcu(&mut self) {
        if self.tables.restart_interval > 0 {
            if self.left == 0 {
                self.bits.restart(self.next_restart);
                self.next_restart = (self.next_restart + 1) % 8;
                self.left = self.tables.restart_interval;
                self.predictors = [0; 4];
                self.end_run = 0;
            }
            self.left -= 1;
        }
    }

    /// Reads this scan's part of a block. `number`: index of the component in the scan.
    fn block(
        &mut self,
        number: usize,
        plane: &mut Plane,
        (row, column): (usize, usize),
    ) -> Result<(), Error> {
        if self.bits.is_exhausted() {
            self.ends_early = true;
            return Ok(());
        }
        let scan = self.header.components[number];
        let missing = || undecodable("a table is missing");
        let dc = || self.tables.dc[scan.dc].as_ref().ok_or_else(missing);
        let ac = || self.tables.ac[scan.ac].as_ref().ok_or_else(missing);
        let block = &mut plane.blocks[row * plane.stride + column];
        let predictor = &mut self.predictors[number];
        let (band, (high, low)) = (self.header.coefficients, self.header.bits);
        let is_inside = row < plane.size.1 && column < plane.size.0;
        match (band, high) {
            ((0, 63), _) => {
                plane.known += usize::from(is_inside);
                all_coefficients(&mut self.bits, (dc()?, ac()?), predictor, block);
            }
            ((0, _), 0) => {
                plane.known += usize::from(is_inside);
                dc_first(&mut self.bits, dc()?, low, predictor, block);
            }
            ((0, _), _) => dc_refine(&mut self.bits, low, block),
            (_, 0) => ac_first(&mut self.bits, ac()?, band, low, &mut self.end_run, block),
            _ => ac_refine(&mut self.bits, ac()?, band, low, &mut self.end_run, block),
        }
        Ok(())
    }
}

/// A block of a sequential scan.
fn all_coefficients(
    bits: &mut Bits<'_>,
    tables: (&HuffmanTable, &HuffmanTable),
    predictor: &mut i32,
    block: &mut Block,
) {
    let mut found = [0.0; 64];
    sequential(bits, tables, &[1.0; 64], predictor, &mut found);
    *block = found.map(|value| value as i16);
}

impl BandSource for Coefficients {
    fn decode_band(&mut self, header: &Header, bands: &mut Bands, band: usize) {
        for ((plane, component), samples) in self.0.iter().zip(&header.components).zip(&mut bands.0)
        {
            let top = samples.top(band);
            // A component that no scan has is grey.
            let factors = plane.quantisation.map_or([0.0; 64], scaled);
            for row in 0..component.down {
                let blocks = &plane.blocks[(band * component.down + row) * plane.stride..];
                for (column, block) in blocks[..plane.stride].iter().enumerate() {
                    let has_ac = block[1..].iter().any(|&value| value != 0);
                    let mut values: [f32; 64] =
                        std::array::from_fn(|index| f32::from(block[index]) * factors[index]);
                    let stride = samples.stride;
                    let to = &mut samples.samples[(top + 8 * row) * stride + 8 * column..];
                    inverse(&mut values, if has_ac { 63 } else { 0 }, to, stride);
                }
            }
        }
    }
}
