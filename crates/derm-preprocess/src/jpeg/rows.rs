//! A baseline JPEG, a few rows at a time: three bands of samples are all that is held.

use super::colour::to_rgb;
use super::dct::{inverse, scaled};
use super::entropy::Bits;
use super::header::{Colour, Component, Header};
use multiversion::multiversion;

/// Decodes the picture and calls `each` with its rows, from the top: RGB, `width` pixels each, at
/// most `height` of the file in all, `rows` at once (fewer the last time). None: damaged.
pub(super) fn decode(
    header: &Header<'_>,
    rows: usize,
    mut each: impl FnMut(&mut [u8]),
) -> Option<()> {
    let mut bands = Bands::new(header);
    let mut strip: Vec<u8> = Vec::with_capacity(rows * header.width * 3);
    let mut scan = Scan::new(header);
    let band = 8 * header.largest().1;
    let count = header.height.div_ceil(band);
    let mut lines = Lines::new(header);
    for number in 0..=count {
        if number < count {
            scan.decode_band(header, &mut bands, number)?;
        }
        // A row needs those above and below it: a band can be finished when the next is there.
        let Some(ready) = number.checked_sub(1) else { continue };
        for row in ready * band..((ready + 1) * band).min(header.height) {
            let start = strip.len();
            strip.resize(start + 3 * header.width, 0);
            lines.write(header, &bands, row, &mut strip[start..]);
            if strip.len() == rows * header.width * 3 {
                each(&mut strip);
                strip.clear();
            }
        }
    }
    if !strip.is_empty() {
        each(&mut strip);
    }
    Some(())
}

/// Bytes that [`decode`] holds.
pub(super) fn memory(header: &Header<'_>, rows: usize) -> u64 {
    let planes: usize =
        header.components.iter().map(|component| Plane::size(header, component)).sum();
    (planes + rows * header.width * 3 + 8 * header.width) as u64
}

/// The last three bands of each component.
struct Bands(Vec<Plane>);

struct Plane {
    samples: Vec<u8>,
    stride: usize,
    /// Rows of a band.
    band: usize,
    /// True size of the component.
    width: usize,
    height: usize,
}

impl Plane {
    /// Samples in a row, and rows of a band, in whole blocks.
    fn band(header: &Header<'_>, component: &Component) -> (usize, usize) {
        let units = header.width.div_ceil(8 * header.largest().0);
        (units * component.across * 8, component.down * 8)
    }

    /// Samples that are held.
    fn size(header: &Header<'_>, component: &Component) -> usize {
        let (stride, band) = Plane::band(header, component);
        3 * band * stride
    }

    fn new(header: &Header<'_>, component: &Component) -> Plane {
        let (most_across, most_down) = header.largest();
        let (stride, band) = Plane::band(header, component);
        Plane {
            samples: vec![0; Plane::size(header, component)],
            stride,
            band,
            width: (header.width * component.across).div_ceil(most_across),
            height: (header.height * component.down).div_ceil(most_down),
        }
    }

    /// A row of the component; beyond the last one, the last one.
    fn row(&self, row: usize) -> &[u8] {
        let row = row.min(self.height - 1) % (3 * self.band);
        &self.samples[row * self.stride..][..self.width]
    }
}

impl Bands {
    fn new(header: &Header<'_>) -> Bands {
        Bands(header.components.iter().map(|component| Plane::new(header, component)).collect())
    }
}

/// The file's scan, as far as it was read.
struct Scan<'a> {
    bits: Bits<'a>,
    predictors: Vec<i32>,
    quantisation: Vec<[f32; 64]>,
    /// Units up to the next restart.
    left: usize,
    block: [f32; 64],
}

impl<'a> Scan<'a> {
    fn new(header: &Header<'a>) -> Scan<'a> {
        let quantisation = |component: &Component| scaled(header.quantisation(component));
        Scan {
            bits: Bits::new(header.data),
            predictors: vec![0; header.components.len()],
            quantisation: header.components.iter().map(quantisation).collect(),
            left: header.restart,
            block: [0.0; 64],
        }
    }

    fn decode_band(&mut self, header: &Header<'_>, bands: &mut Bands, number: usize) -> Option<()> {
        let units = header.width.div_ceil(8 * header.largest().0);
        for unit in 0..units {
            if header.restart > 0 {
                if self.left == 0 {
                    self.bits.restart()?;
                    self.predictors.fill(0);
                    self.left = header.restart;
                }
                self.left -= 1;
            }
            for (c, component) in header.components.iter().enumerate() {
                let plane = &mut bands.0[c];
                let tables = (header.dc[component.dc].as_ref()?, header.ac[component.ac].as_ref()?);
                let top = number % 3 * plane.band;
                for place in 0..component.across * component.down {
                    let (down, across) = (place / component.across, place % component.across);
                    let predictor = &mut self.predictors[c];
                    let last = self.bits.block(
                        tables,
                        &self.quantisation[c],
                        predictor,
                        &mut self.block,
                    )?;
                    let row = top + 8 * down;
                    let column = 8 * (unit * component.across + across);
                    let to = &mut plane.samples[row * plane.stride + column..];
                    inverse(&mut self.block, last, to, plane.stride);
                }
            }
        }
        Some(())
    }
}

/// Room for one row of each component at the picture's size.
struct Lines {
    full: Vec<Vec<u8>>,
    mixed: Vec<u16>,
}

impl Lines {
    fn new(header: &Header<'_>) -> Lines {
        // One more than the width: chroma doubles to an even number.
        let line = || vec![0; header.width + 4];
        Lines { full: header.components.iter().map(|_| line()).collect(), mixed: Vec::new() }
    }

    /// One row of the picture.
    fn write(&mut self, header: &Header<'_>, bands: &Bands, row: usize, to: &mut [u8]) {
        let (most_across, most_down) = header.largest();
        let mut sources: Vec<&[u8]> = Vec::with_capacity(3);
        for ((component, plane), line) in header.components.iter().zip(&bands.0).zip(&mut self.full)
        {
            let scale = (most_across / component.across, most_down / component.down);
            let exact =
                component.across * scale.0 == most_across && component.down * scale.1 == most_down;
            if scale == (1, 1) && exact {
                sources.push(plane.row(row));
            } else {
                upsample(plane, row, (component, most_across, most_down), line, &mut self.mixed);
                sources.push(&line[..header.width]);
            }
        }
        match (header.colour, &sources[..]) {
            (Colour::Grey, [grey, ..]) => {
                for (to, &grey) in to.chunks_exact_mut(3).zip(*grey) {
                    to.fill(grey);
                }
            }
            (Colour::Rgb, [r, g, b]) => {
                for (i, to) in to.chunks_exact_mut(3).enumerate() {
                    to.copy_from_slice(&[r[i], g[i], b[i]]);
                }
            }
            (Colour::YCbCr, [y, cb, cr]) => to_rgb(y, cb, cr, to),
            _ => unreachable!("the header has one component or three"),
        }
    }
}

/// A row of a smaller component at the picture's size, as libjpeg does by default ("fancy"): each
/// new sample is three quarters the nearest and one quarter the next nearest; other factors than
/// two repeat samples.
fn upsample(
    plane: &Plane,
    row: usize,
    (component, most_across, most_down): (&Component, usize, usize),
    line: &mut [u8],
    mixed: &mut Vec<u16>,
) {
    let double = |small: usize, large: usize| 2 * small == large;
    let across = double(component.across, most_across) && plane.width > 2;
    let down = double(component.down, most_down);
    let same_across = component.across == most_across;
    let same_down = component.down == most_down;
    let near = plane.row(row * component.down / most_down);
    if !(across || same_across) || !(down || same_down) || (down && !across && !same_across) {
        for (i, to) in line.iter_mut().enumerate() {
            *to = near[(i * component.across / most_across).min(near.len() - 1)];
        }
        return;
    }
    // Four times the sample when rows are mixed, else the sample.
    let far = match row {
        _ if !down => near,
        row if row.is_multiple_of(2) => plane.row((row / 2).saturating_sub(1)),
        row => plane.row(row / 2 + 1),
    };
    mix(near, far, down, mixed);
    if across {
        double_row(mixed, down, line);
    } else {
        let bias = if row.is_multiple_of(2) { 1 } else { 2 };
        for (to, &value) in line.iter_mut().zip(mixed.iter()) {
            *to = ((value + bias) >> 2) as u8;
        }
    }
}

/// Three quarters of one row and a quarter of another, times four; or one row as it is.
#[multiversion(targets("x86_64+avx+avx2+fma"))]
fn mix(near: &[u8], far: &[u8], both: bool, mixed: &mut Vec<u16>) {
    mixed.clear();
    if both {
        mixed.extend(near.iter().zip(far).map(|(&n, &f)| 3 * u16::from(n) + u16::from(f)));
    } else {
        mixed.extend(near.iter().map(|&n| u16::from(n)));
    }
}

/// Doubles a row: three quarters of a sample and a quarter of its neighbour on either side.
#[multiversion(targets("x86_64+avx+avx2+fma"))]
fn double_row(mixed: &[u16], times_four: bool, line: &mut [u8]) {
    let (shift, left_bias, right_bias) = if times_four { (4, 8, 7) } else { (2, 1, 2) };
    let blend = |left: u16, this: u16, right: u16| {
        let left = (3 * this + left + left_bias) >> shift;
        let right = (3 * this + right + right_bias) >> shift;
        [left as u8, right as u8]
    };
    let last = mixed.len() - 1;
    let (pairs, _) = line.as_chunks_mut::<2>();
    let count = mixed.len().min(pairs.len());
    pairs[0] = blend(mixed[0], mixed[0], mixed[1.min(last)]);
    for (pair, three) in pairs[1..].iter_mut().zip(mixed.array_windows::<3>()) {
        *pair = blend(three[0], three[1], three[2]);
    }
    if count > 1 {
        pairs[count - 1] = blend(mixed[count - 2], mixed[count - 1], mixed[count.min(last)]);
    }
}
