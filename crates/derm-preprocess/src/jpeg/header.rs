//! The part of a JPEG file before its first scan (ITU-T T.81, annex B).

use super::segments::{EOI, SOS, Segments};
use super::tables::Tables;
use crate::error::Error;
use crate::orientation::Orientation;

/// A component of the frame: luma, a chroma, an ink.
#[derive(Debug, Clone, Copy)]
pub(super) struct Component {
    id: u8,
    /// Sampling factors: blocks in an MCU (minimum coded unit), horizontally and vertically.
    pub(super) across: usize,
    pub(super) down: usize,
    /// Index of the quantisation table.
    pub(super) quantisation: usize,
}

/// How components become colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Grey,
    YCbCr,
    Rgb,
    /// Stored inverted, as Adobe does.
    Cmyk,
    /// YCbCr and black; as CMYK, stored inverted.
    Ycck,
}

/// A component of a scan.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScanComponent {
    /// Index of the frame's component.
    pub(super) index: usize,
    /// Indices of the Huffman tables.
    pub(super) dc: usize,
    pub(super) ac: usize,
}

/// A scan's header.
#[derive(Debug, Clone)]
pub(super) struct ScanHeader {
    pub(super) components: Vec<ScanComponent>,
    /// First and last coefficient (Ss, Se).
    pub(super) coefficients: (usize, usize),
    /// Successive approximation: bit positions of the previous scan and of this one (Ah, Al).
    pub(super) bits: (u32, u32),
}

/// A file up to its first scan.
#[derive(Clone)]
pub(super) struct Header {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) progressive: bool,
    pub(super) components: Vec<Component>,
    pub(super) colour: Colour,
    pub(super) orientation: Orientation,
    /// As they are at the first scan.
    pub(super) tables: Tables,
    pub(super) scan: ScanHeader,
    /// Index of the first scan's entropy-coded data in the file.
    pub(super) data: usize,
}

pub(super) fn undecodable(reason: &str) -> Error {
    Error::undecodable("JPEG", reason)
}

impl Header {
    /// Reads everything up to the first scan.
    pub(super) fn read(bytes: &[u8]) -> Result<Header, Error> {
        let mut frame: Option<Frame> = None;
        let (mut jfif, mut adobe, mut orientation) = (false, None, None);
        let mut tables = Tables::new();
        let mut segments = Segments::new(bytes, 2);
        while let Some((marker, content)) = segments.next() {
            match marker {
                0xc0..=0xcf if ![0xc4, 0xc8, 0xcc].contains(&marker) => {
                    if frame.is_some() {
                        return Err(undecodable("it has two frame headers"));
                    }
                    frame = Some(Frame::read(marker, content)?);
                }
                0xe0 if content.starts_with(b"JFIF\0") => jfif = true,
                0xe1 if content.starts_with(b"Exif\0\0") => {
                    orientation = orientation.or_else(|| Orientation::from_exif(content));
                }
                0xee if content.starts_with(b"Adobe") => adobe = content.get(11).copied(),
                SOS => {
                    let Frame { width, height, progressive, components } =
                        frame.ok_or_else(|| undecodable("a scan precedes the frame header"))?;
                    let scan = ScanHeader::read(content, &components, progressive)?;
                    let colour = colour(&components, jfif, adobe);
                    let orientation = orientation.unwrap_or_default();
                    let data = segments.position;
                    return Ok(Header {
                        width,
                        height,
                        progressive,
                        components,
                        colour,
                        orientation,
                        tables,
                        scan,
                        data,
                    });
                }
                EOI => break,
                marker => {
                    let read = tables.read(marker, content);
                    read.ok_or_else(|| undecodable("a table is invalid"))?;
                }
            }
        }
        Err(undecodable("it ends before the first scan"))
    }

    /// Whether the first scan holds all of the picture: then it is decoded a few rows at a time.
    pub(super) fn is_one_scan(&self) -> bool {
        !self.progressive && self.scan.components.len() == self.components.len()
    }

    /// The largest sampling factors.
    pub(super) fn largest(&self) -> (usize, usize) {
        let across = self.components.iter().map(|component| component.across).max();
        let down = self.components.iter().map(|component| component.down).max();
        (across.unwrap_or(1), down.unwrap_or(1))
    }

    /// Interleaved MCUs in a row, and their rows.
    pub(super) fn mcus(&self) -> (usize, usize) {
        let (across, down) = self.largest();
        (self.width.div_ceil(8 * across), self.height.div_ceil(8 * down))
    }

    /// Width and height of a component, in samples.
    pub(super) fn component_size(&self, component: &Component) -> (usize, usize) {
        let (across, down) = self.largest();
        let width = (self.width * component.across).div_ceil(across);
        (width, (self.height * component.down).div_ceil(down))
    }

    /// Blocks of a component, in whole MCUs.
    pub(super) fn blocks(&self, component: usize) -> u64 {
        let ((across, down), component) = (self.mcus(), self.components[component]);
        (across * down * component.across * component.down) as u64
    }
}

struct Frame {
    width: usize,
    height: usize,
    progressive: bool,
    components: Vec<Component>,
}

impl Frame {
    fn read(marker: u8, content: &[u8]) -> Result<Frame, Error> {
        let process = match marker {
            0xc0..=0xc2 => None,
            0xc3 => Some("lossless coding"),
            0xc5..=0xc7 | 0xcd..=0xcf => Some("hierarchical coding"),
            _ => Some("arithmetic coding"),
        };
        if let Some(process) = process {
            return Err(unsupported(process.to_owned()));
        }
        let [precision, h1, h0, w1, w0, count, components @ ..] = content else {
            return Err(undecodable("its frame header is too short"));
        };
        if *precision != 8 {
            return Err(unsupported(format!("{precision} bits a sample")));
        }
        if components.len() != 3 * usize::from(*count) {
            return Err(undecodable("its frame header has a wrong length"));
        }
        if ![1, 3, 4].contains(count) {
            return Err(unsupported(format!("{count} components")));
        }
        let mut components = components
            .chunks_exact(3)
            .map(|three| {
                let (across, down) = (usize::from(three[1] >> 4), usize::from(three[1] & 15));
                let valid = (1..=4).contains(&across) && (1..=4).contains(&down) && three[2] < 4;
                let quantisation = usize::from(three[2]);
                valid.then_some(Component { id: three[0], across, down, quantisation })
            })
            .collect::<Option<Vec<Component>>>()
            .ok_or_else(|| undecodable("its sampling factors are invalid"))?;
        if let [only] = &mut components[..] {
            // A scan of one component is not interleaved: its factors have no effect (A.2.2).
            (only.across, only.down) = (1, 1);
        }
        let height = usize::from(u16::from_be_bytes([*h1, *h0]));
        let width = usize::from(u16::from_be_bytes([*w1, *w0]));
        Ok(Frame { width, height, progressive: marker == 0xc2, components })
    }
}

fn unsupported(feature: String) -> Error {
    let remedy = "save it as a baseline JPEG or as PNG";
    Error::Unsupported { what: format!("JPEG with {feature}"), remedy }
}

/// As libjpeg guesses it (`default_decompress_parms`).
fn colour(components: &[Component], jfif: bool, adobe: Option<u8>) -> Colour {
    match (components.len(), adobe) {
        (1, _) => Colour::Grey,
        (4, Some(0) | None) => Colour::Cmyk,
        (4, Some(_)) => Colour::Ycck,
        _ if jfif => Colour::YCbCr,
        (_, Some(0)) => Colour::Rgb,
        (_, None) if components.iter().map(|c| c.id).eq(*b"RGB") => Colour::Rgb,
        _ => Colour::YCbCr,
    }
}

impl ScanHeader {
    pub(super) fn read(
        content: &[u8],
        frame: &[Component],
        progressive: bool,
    ) -> Result<ScanHeader, Error> {
        let invalid = || undecodable("a scan header is invalid");
        let (&count, rest) = content.split_first().ok_or_else(invalid)?;
        let count = usize::from(count);
        if !(1..=frame.len()).contains(&count) || rest.len() < 2 * count + 3 {
            return Err(invalid());
        }
        let mut components: Vec<ScanComponent> = Vec::with_capacity(count);
        for two in rest.chunks_exact(2).take(count) {
            let is_new = |index: &usize| !components.iter().any(|known| known.index == *index);
            let mut found = (0..frame.len()).filter(|&index| frame[index].id == two[0]);
            let index = found.find(is_new).ok_or_else(invalid)?;
            let (dc, ac) = (usize::from(two[1] >> 4), usize::from(two[1] & 15));
            if dc > 3 || ac > 3 {
                return Err(invalid());
            }
            components.push(ScanComponent { index, dc, ac });
        }
        let [first, last, bits] = [0, 1, 2].map(|index| rest[2 * count + index]);
        if !progressive {
            // Sequential scans hold all coefficients, whatever the header says: phones exist that
            // write other values.
            return Ok(ScanHeader { components, coefficients: (0, 63), bits: (0, 0) });
        }
        let (first, last) = (usize::from(first), usize::from(last));
        let (high, low) = (u32::from(bits >> 4), u32::from(bits & 15));
        let is_valid = match first {
            0 => last == 0,
            _ => (first..64).contains(&last) && count == 1,
        };
        if !is_valid || low > 13 || (high != 0 && high != low + 1) {
            return Err(invalid());
        }
        Ok(ScanHeader { components, coefficients: (first, last), bits: (high, low) })
    }
}
