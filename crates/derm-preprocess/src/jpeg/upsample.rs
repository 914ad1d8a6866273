//! Rows of the components to rows of the picture: chroma upsampling and colour conversion.

use super::colour::to_rgb;
use super::header::{Colour, Component, Header};
use super::planes::{Bands, Plane};
use crate::ink::darken;
use multiversion::multiversion;

/// Buffers for one row of each component at the picture's width.
pub(super) struct RowWriter {
    full: Vec<Vec<u8>>,
    mixed: Vec<u16>,
}

impl RowWriter {
    pub(super) fn new(header: &Header) -> RowWriter {
        // Wider than the picture: doubled chroma has an even width.
        let line = || vec![0; header.width + 4];
        RowWriter { full: header.components.iter().map(|_| line()).collect(), mixed: Vec::new() }
    }

    /// Bytes that the buffers take.
    pub(super) fn memory(header: &Header) -> usize {
        (header.components.len() + 2) * (header.width + 4)
    }

    /// Writes one row of the picture, RGB.
    pub(super) fn write(&mut self, header: &Header, bands: &Bands, row: usize, to: &mut [u8]) {
        let (most_across, most_down) = header.largest();
        let mut sources: [&[u8]; 4] = [&[]; 4];
        let planes = header.components.iter().zip(&bands.0).zip(&mut self.full);
        for (source, ((component, plane), line)) in sources.iter_mut().zip(planes) {
            if (component.across, component.down) == (most_across, most_down) {
                *source = plane.row(row);
            } else {
                upsample(plane, row, (component, most_across, most_down), line, &mut self.mixed);
                *source = &line[..header.width];
            }
        }
        let [first, second, third, fourth] = sources;
        match header.colour {
            Colour::Grey => {
                for (to, &grey) in to.as_chunks_mut::<3>().0.iter_mut().zip(first) {
                    *to = [grey; 3];
                }
            }
            Colour::Rgb => {
                for (i, to) in to.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                    *to = [first[i], second[i], third[i]];
                }
            }
            Colour::YCbCr => to_rgb(first, second, third, to),
            Colour::Cmyk => {
                for (i, to) in to.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                    *to = [first[i], second[i], third[i]];
                }
                darken(fourth, to);
            }
            Colour::Ycck => {
                // Here YCbCr gives the inks; black is stored as its complement.
                to_rgb(first, second, third, to);
                to.iter_mut().for_each(|value| *value = 255 - *value);
                darken(fourth, to);
            }
        }
    }
}

/// Upsamples a row of a subsampled component as libjpeg does by default ("fancy"): each new sample is
/// three quarters of the nearest and one quarter of the next nearest; for other factors than two,
/// samples are repeated.
fn upsample(
    plane: &Plane,
    row: usize,
    (component, most_across, most_down): (&Component, usize, usize),
    line: &mut [u8],
    mixed: &mut Vec<u16>,
) {
    let double = |small: usize, large: usize| 2 * small == large;
    let across = double(component.across, most_across) && plane.width() > 2;
    let down = double(component.down, most_down);
    let same_across = component.across == most_across;
    let same_down = component.down == most_down;
    let near = plane.row(row * component.down / most_down);
    if !(across || same_across) || !(down || same_down) {
        for (i, to) in line.iter_mut().enumerate() {
            *to = near[(i * component.across / most_across).min(near.len() - 1)];
        }
        return;
    }
    // Four times the sample where rows are mixed, else the sample.
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

/// Three quarters of one row and one quarter of another, times four; or one row as it is.
#[multiversion(targets("x86_64+avx+avx2+fma"))]
fn mix(near: &[u8], far: &[u8], both: bool, mixed: &mut Vec<u16>) {
    mixed.clear();
    if both {
        mixed.extend(near.iter().zip(far).map(|(&n, &f)| 3 * u16::from(n) + u16::from(f)));
    } else {
        mixed.extend(near.iter().map(|&n| u16::from(n)));
    }
}

/// Doubles a row: three quarters of a sample and one quarter of its neighbour on either side.
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
