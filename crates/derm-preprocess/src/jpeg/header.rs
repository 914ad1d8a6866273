//! What stands before a JPEG's pixels (ITU-T T.81, annex B).

use super::entropy::HuffmanTable;

/// A component (luma or a chroma) of the frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Component {
    id: u8,
    /// Blocks across and down in a unit of the scan.
    pub(super) across: usize,
    pub(super) down: usize,
    quantisation: usize,
    /// Huffman tables.
    pub(super) dc: usize,
    pub(super) ac: usize,
}

/// How components become colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Grey,
    YCbCr,
    Rgb,
}

/// A baseline file that can be decoded row by row.
pub(crate) struct Header<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) components: Vec<Component>,
    pub(super) colour: Colour,
    quantisation: [Option<[f32; 64]>; 4],
    pub(super) dc: [Option<HuffmanTable>; 4],
    pub(super) ac: [Option<HuffmanTable>; 4],
    /// Scan units from one restart marker to the next; 0: there are none.
    pub(super) restart: usize,
    pub(super) exif: Option<&'a [u8]>,
    /// The pixels.
    pub(super) data: &'a [u8],
}

/// Place of the i-th coefficient of the file (figure A.6 of the standard), column by column.
pub(super) const ZIGZAG: [u8; 64] = [
    0, 8, 1, 2, 9, 16, 24, 17, 10, 3, 4, 11, 18, 25, 32, 40, 33, 26, 19, 12, 5, 6, 13, 20, 27, 34,
    41, 48, 56, 49, 42, 35, 28, 21, 14, 7, 15, 22, 29, 36, 43, 50, 57, 58, 51, 44, 37, 30, 23, 31,
    38, 45, 52, 59, 60, 53, 46, 39, 47, 54, 61, 62, 55, 63,
];

impl<'a> Header<'a> {
    /// Reads everything up to the pixels. None: not a kind that is decoded row by row
    /// (progressive, lossless, arithmetic, 12 bits, CMYK, a scan for each component), or damaged.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Header<'a>> {
        let mut header = Header {
            width: 0,
            height: 0,
            components: Vec::new(),
            colour: Colour::YCbCr,
            quantisation: [None; 4],
            dc: [const { None }; 4],
            ac: [const { None }; 4],
            restart: 0,
            exif: None,
            data: &[],
        };
        let (mut jfif, mut adobe) = (false, None);
        let mut rest = bytes.strip_prefix(&[0xff, 0xd8])?;
        loop {
            let (marker, content) = next_segment(&mut rest)?;
            match marker {
                0xc0 | 0xc1 => header.read_frame(content)?,
                0xc4 => header.read_huffman(content)?,
                // Other kinds of frames, and arithmetic coding.
                0xc2 | 0xc3 | 0xc5..=0xcf => return None,
                0xdb => header.read_quantisation(content)?,
                0xdd => header.restart = usize::from(u16::from_be_bytes(content.try_into().ok()?)),
                0xe0 if content.starts_with(b"JFIF\0") => jfif = true,
                0xe1 => header.exif = header.exif.or(content.strip_prefix(b"Exif\0\0")),
                0xee if content.starts_with(b"Adobe") => adobe = content.get(11).copied(),
                0xda => {
                    header.read_scan(content)?;
                    header.data = rest;
                    header.colour = header.colour(jfif, adobe)?;
                    return header.is_complete().then_some(header);
                }
                _ => {}
            }
        }
    }

    fn read_frame(&mut self, content: &[u8]) -> Option<()> {
        let [8, h1, h0, w1, w0, count, components @ ..] = content else { return None };
        if !self.components.is_empty() || components.len() != 3 * usize::from(*count) {
            return None;
        }
        self.height = usize::from(u16::from_be_bytes([*h1, *h0]));
        self.width = usize::from(u16::from_be_bytes([*w1, *w0]));
        for three in components.chunks_exact(3) {
            let (across, down) = (usize::from(three[1] >> 4), usize::from(three[1] & 15));
            if !(1..=4).contains(&across) || !(1..=4).contains(&down) || three[2] > 3 {
                return None;
            }
            let quantisation = usize::from(three[2]);
            self.components.push(Component {
                id: three[0],
                across,
                down,
                quantisation,
                dc: 0,
                ac: 0,
            });
        }
        Some(())
    }

    fn read_quantisation(&mut self, mut content: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = content.split_first() {
            let wide = usize::from(kind >> 4);
            let table = self.quantisation.get_mut(usize::from(kind & 15))?;
            let values = rest.get(..64 * (wide + 1))?;
            let mut found = [0.0; 64];
            for (place, value) in values.chunks_exact(wide + 1).enumerate() {
                let value = value.iter().fold(0u16, |all, &byte| all << 8 | u16::from(byte));
                found[usize::from(ZIGZAG[place])] = f32::from(value);
            }
            *table = Some(found);
            content = &rest[values.len()..];
        }
        Some(())
    }

    fn read_huffman(&mut self, mut content: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = content.split_first() {
            let counts: [u8; 16] = rest.get(..16)?.try_into().ok()?;
            let total: usize = counts.iter().map(|&count| usize::from(count)).sum();
            let symbols = rest.get(16..16 + total)?;
            let tables = if kind >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            *tables.get_mut(usize::from(kind & 15))? = Some(HuffmanTable::new(&counts, symbols)?);
            content = &rest[16 + total..];
        }
        Some(())
    }

    /// The one scan: all components, in the frame's order, all coefficients.
    fn read_scan(&mut self, content: &[u8]) -> Option<()> {
        let (&count, rest) = content.split_first()?;
        let count = usize::from(count);
        if count != self.components.len() || rest.len() != 2 * count + 3 {
            return None;
        }
        for (component, two) in self.components.iter_mut().zip(rest.chunks_exact(2)) {
            if component.id != two[0] || two[1] >> 4 > 3 || two[1] & 15 > 3 {
                return None;
            }
            (component.dc, component.ac) = (usize::from(two[1] >> 4), usize::from(two[1] & 15));
        }
        (rest[2 * count..] == [0, 63, 0]).then_some(())
    }

    /// As libjpeg guesses it.
    fn colour(&self, jfif: bool, adobe: Option<u8>) -> Option<Colour> {
        match (self.components.len(), adobe) {
            (1, _) => Some(Colour::Grey),
            (3, _) if jfif => Some(Colour::YCbCr),
            (3, Some(0)) => Some(Colour::Rgb),
            (3, Some(_)) => Some(Colour::YCbCr),
            (3, None) if self.components.iter().map(|c| c.id).eq(*b"RGB") => Some(Colour::Rgb),
            (3, None) => Some(Colour::YCbCr),
            _ => None,
        }
    }

    fn is_complete(&self) -> bool {
        let tables = self.components.iter().all(|component| {
            self.quantisation[component.quantisation].is_some()
                && self.dc[component.dc].is_some()
                && self.ac[component.ac].is_some()
        });
        tables && self.width > 0 && self.height > 0
    }

    /// What each coefficient of a component is multiplied with.
    pub(super) fn quantisation(&self, component: &Component) -> [f32; 64] {
        self.quantisation[component.quantisation].unwrap_or([0.0; 64])
    }

    /// Blocks across and down of the component that has most.
    pub(super) fn largest(&self) -> (usize, usize) {
        let across = self.components.iter().map(|component| component.across).max();
        let down = self.components.iter().map(|component| component.down).max();
        (across.unwrap_or(1), down.unwrap_or(1))
    }
}

/// Samples of all components for each pixel (1.5 where chroma is halved both ways), whatever kind of
/// frame it is. None: there is no frame.
pub(super) fn samples_per_pixel(bytes: &[u8]) -> Option<f64> {
    let mut rest = bytes.strip_prefix(&[0xff, 0xd8])?;
    loop {
        let (marker, content) = next_segment(&mut rest)?;
        if matches!(marker, 0xc0..=0xcf) && ![0xc4, 0xc8, 0xcc].contains(&marker) {
            let factors =
                content.get(6..)?.chunks_exact(3).map(|three| (three[1] >> 4, three[1] & 15));
            let factors: Vec<(f64, f64)> = factors.map(|(a, d)| (a.into(), d.into())).collect();
            let across = factors.iter().map(|factor| factor.0).fold(1.0, f64::max);
            let down = factors.iter().map(|factor| factor.1).fold(1.0, f64::max);
            return Some(factors.iter().map(|(a, d)| a * d / (across * down)).sum());
        }
    }
}

/// The next marker and what belongs to it, past fill bytes (B.1.1.4).
fn next_segment<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let after = rest.strip_prefix(&[0xff])?;
    let fill = after.iter().take_while(|&&byte| byte == 0xff).count();
    let (&marker, segment) = after[fill..].split_first()?;
    let length = usize::from(u16::from_be_bytes(*segment.first_chunk::<2>()?));
    let content = segment.get(2..length)?;
    *rest = &segment[length..];
    Some((marker, content))
}
