//! Convolutions of 3x3 places and stride 1 with a quarter of the multiplications: Winograd's
//! F(4x4, 3x3), as in Lavin and Gray 2016, arXiv:1509.09308, section 4.3.
//!
//! Tiles of 6x6 input pixels become 36 *points*; at each point, pixels times weights is a matrix
//! product over channels; 36 sums become 4x4 output pixels. The weights' points are made from the
//! packed weights while the convolution runs and are never kept: of weights and pixels, the
//! smaller is transformed once and the other one piece by piece.

#![expect(clippy::needless_range_loop, reason = "squares of vectors are walked along and across")]

use crate::after::{After, Finish};
use crate::conv::{MOST_LANES, PackedConv, Panel};
use crate::isa::{Isa, dispatch};
use crate::rows::Rows;
use crate::simd::Simd;
use crate::tile::{Call, run_panel};
use crate::{ConvShape, Ring};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Output pixels along a side of a tile.
const SIDE: usize = 4;
/// Input pixels along a side of a tile.
const REACH: usize = 6;
/// Points of a tile.
const POINTS: usize = REACH * REACH;
/// Places of the kernel.
const TAPS: usize = 9;
/// Values between the lists of two points, beyond what they hold: lists that begin a multiple of
/// 4 KiB apart would share their places in the cache.
const APART: usize = 16;
/// Float32 values of pixels and sums that are at work together: half of a usual second-level cache.
const STRIP: usize = 128 * 1024;
/// Float32 values of weights that are at work with them.
const CHUNK: usize = 96 * 1024;

/// Float32 values of weights or pixels, whichever are kept, at most, beyond as many as the convolution
/// reads and writes: no scratch outgrows what it serves.
const KEPT: usize = 512 * 1024;

/// How a convolution is cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Winograd {
    /// Tiles from top to bottom, and from left to right.
    tiles: [usize; 2],
    /// Tiles whose pixels are transformed together.
    strip: usize,
    /// Input channels whose weights are transformed together.
    chunk: usize,
    /// Whether the weights are transformed once for all strips.
    keeps_weights: bool,
}

impl Winograd {
    /// How to cut the convolution; none where it is of another kind, or the direct way is as quick.
    pub(crate) fn new(conv: &PackedConv, shape: &ConvShape) -> Option<Winograd> {
        let axes = [shape.rows, shape.columns];
        let fits = |axis: &crate::Axis| {
            (axis.kernel, axis.stride, axis.dilation, axis.spread) == (3, 1, 1, 1)
        };
        if shape.groups != 1 || !axes.iter().all(fits) {
            return None;
        }
        let tiles = axes.map(|axis| axis.output.div_ceil(SIDE));
        let (count, depth, lanes) = (tiles[0] * tiles[1], shape.inputs, conv.isa().lanes());
        let vectors: usize = conv.panels().iter().map(|panel| panel.vectors).sum();
        // Vector operations. A product by points is less even than a direct convolution, and a
        // transformation costs what its code has, loads and stores included.
        let direct = 9 * shape.rows.output * shape.columns.output * depth * vectors;
        let products = POINTS * count * depth * vectors;
        let transforms =
            130 * depth * vectors + count * (300 * depth.div_ceil(lanes) + 220 * vectors);
        if 10 * (products + products / 8 + transforms) > 9 * direct {
            return None;
        }
        let width = 2 * lanes;
        let keeps_weights = vectors * lanes <= count;
        let kept = POINTS * depth * count.min(vectors * lanes);
        if kept > KEPT + shape.input_len() + shape.output_len() {
            return None;
        }
        Some(if keeps_weights {
            let most = STRIP / (POINTS * (depth + width));
            let strip = (most / 12 * 12).max(12).min(count);
            Winograd { tiles, strip, chunk: depth, keeps_weights }
        } else {
            let chunks = (POINTS * depth * width).div_ceil(CHUNK);
            Winograd { tiles, strip: count, chunk: depth.div_ceil(chunks), keeps_weights }
        })
    }

    /// Into how many parts the work can be cut: rows of tiles, or panels where weights are what takes
    /// time to transform.
    pub(crate) fn units(&self, conv: &PackedConv) -> usize {
        if self.is_cut_by_panels(conv) { conv.panels().len() } else { self.tiles[0] }
    }

    fn is_cut_by_panels(&self, conv: &PackedConv) -> bool {
        !self.keeps_weights && conv.panels().len() > 1
    }

    /// Float32 values of scratch.
    pub(crate) fn scratch(&self, conv: &PackedConv, shape: &ConvShape) -> usize {
        let Lengths { zeros, taps, weights, pixels, sums } = self.lengths(conv, shape);
        zeros + taps + weights + pixels + sums
    }

    fn lengths(&self, conv: &PackedConv, shape: &ConvShape) -> Lengths {
        let panels = conv.panels();
        let weights = if self.keeps_weights {
            panels.iter().map(|panel| self.weights_of(conv, panel)).sum()
        } else {
            panels.iter().map(|panel| self.weights_of(conv, panel)).max().unwrap_or(0)
        };
        Lengths {
            zeros: shape.inputs.max(MOST_LANES),
            taps: if conv.is_turned() { TAPS * self.chunk * 2 * conv.isa().lanes() } else { 0 },
            weights,
            pixels: POINTS * self.pixels_apart(shape),
            sums: POINTS * self.sums_apart(2 * conv.isa().lanes()),
        }
    }

    /// Values that a chunk of a panel's weights becomes.
    fn weights_of(&self, conv: &PackedConv, panel: &Panel) -> usize {
        POINTS * self.weights_apart(panel.width(conv.isa()))
    }

    /// How far apart the points' lists are: of weights, `width` values an input channel; of
    /// pixels; and of sums, `width` values a tile.
    fn weights_apart(&self, width: usize) -> usize {
        self.chunk * width + APART
    }

    fn pixels_apart(&self, shape: &ConvShape) -> usize {
        self.strip * shape.inputs + APART
    }

    fn sums_apart(&self, width: usize) -> usize {
        self.strip * width + APART
    }

    /// Convolves the units `part`.
    ///
    /// # Safety
    /// Slices and output must have the lengths that `shape` and [`Winograd::scratch`] ask for, and
    /// nobody else may touch those units meanwhile.
    #[expect(clippy::too_many_arguments, reason = "those of `PackedConv::run_part`, and that")]
    pub(crate) unsafe fn run(
        &self,
        conv: &PackedConv,
        shape: &ConvShape,
        input: &[f32],
        output: *mut f32,
        after: &[After<'_>],
        scratch: &mut [f32],
        part: Range<usize>,
    ) {
        let lengths = self.lengths(conv, shape);
        let (zeros, scratch) = scratch.split_at_mut(lengths.zeros);
        let (taps, scratch) = scratch.split_at_mut(lengths.taps);
        let (weights, scratch) = scratch.split_at_mut(lengths.weights);
        let (pixels, scratch) = scratch.split_at_mut(lengths.pixels);
        let sums = &mut scratch[..lengths.sums];
        zeros.fill(0.0);
        let isa = conv.isa();
        let [_, across] = self.tiles;
        let (mut panels, mut rows) = (conv.panels(), 0..self.tiles[0]);
        if self.is_cut_by_panels(conv) {
            panels = &panels[part];
        } else {
            rows = part;
        }
        let all = rows.start * across..rows.end * across;
        let finish = Finish::new(isa, after);
        for first in all.clone().step_by(self.strip) {
            let strip = first..(first + self.strip).min(all.end);
            let taken = Pixels {
                cut: self,
                shape,
                input: input.as_ptr(),
                zeros: zeros.as_ptr(),
                strip: strip.clone(),
            };
            // SAFETY: lengths are as asked for.
            unsafe { transform_pixels(isa, &taken, pixels.as_mut_ptr()) };
            let mut kept = 0;
            for panel in panels {
                let width = panel.width(isa);
                let points = if self.keeps_weights {
                    let length = self.weights_of(conv, panel);
                    kept += length;
                    &mut weights[kept - length..kept]
                } else {
                    &mut weights[..]
                };
                for start in (0..shape.inputs).step_by(self.chunk) {
                    let chunk = start..(start + self.chunk).min(shape.inputs);
                    if !self.keeps_weights || first == all.start {
                        let apart = self.weights_apart(width);
                        // SAFETY: the packed weights have nine taps, as the shape has.
                        unsafe { conv.winograd_points(panel, chunk.clone(), taps, points, apart) };
                    }
                    for point in 0..POINTS {
                        let call = Call {
                            shape: &ConvShape::product(strip.len(), shape.inputs, width),
                            input: Ring {
                                values: pixels[point * self.pixels_apart(shape)..].as_ptr(),
                                kept: 1,
                            },
                            kept: 1,
                            zeros: zeros.as_ptr(),
                            weights: points[point * self.weights_apart(width)..].as_ptr(),
                            bias: &zeros[..width],
                            panel: Panel { group: 0, channel: 0, channels: width, ..*panel },
                            depth: shape.inputs,
                            first: chunk.start,
                            end: chunk.end,
                            finish: Finish::new(isa, &[]),
                            rows: 0..1,
                            columns: 0..strip.len(),
                        };
                        let sums = &mut sums[point * self.sums_apart(width)..];
                        // SAFETY: lengths are as asked for.
                        unsafe { run_panel(isa, &call, sums.as_mut_ptr()) };
                    }
                }
                let made = Sums {
                    cut: self,
                    shape,
                    panel,
                    bias: conv.bias_of(panel),
                    sums: sums.as_ptr(),
                    strip: strip.clone(),
                    finish,
                };
                // SAFETY: lengths are as asked for; the rows are the caller's.
                unsafe { transform_sums(isa, &made, output) };
            }
        }
    }
}

/// Float32 values of each part of the scratch.
struct Lengths {
    zeros: usize,
    /// Of weights that have to be turned first.
    taps: usize,
    weights: usize,
    pixels: usize,
    sums: usize,
}

/// Pixels of a strip of tiles, to be transformed to `[point][tile][input channel]`.
struct Pixels<'a> {
    cut: &'a Winograd,
    shape: &'a ConvShape,
    input: *const f32,
    zeros: *const f32,
    strip: Range<usize>,
}

dispatch! {
    unsafe fn transform_pixels = pixels_with(taken: &Pixels<'_>, to: *mut f32)
}

#[inline(always)]
unsafe fn pixels_with<S: Simd>(taken: &Pixels<'_>, to: *mut f32) {
    let ConvShape { rows, columns, inputs, .. } = *taken.shape;
    let apart = taken.cut.pixels_apart(taken.shape);
    for (number, tile) in taken.strip.clone().enumerate() {
        let (top, left) = (tile / taken.cut.tiles[1] * SIDE, tile % taken.cut.tiles[1] * SIDE);
        let mut pixels = [taken.zeros; POINTS];
        for (place, pixel) in pixels.iter_mut().enumerate() {
            let row = (top + place / REACH).checked_sub(rows.before);
            let column = (left + place % REACH).checked_sub(columns.before);
            if let (Some(row), Some(column)) = (row, column)
                && row < rows.input
                && column < columns.input
            {
                // SAFETY: the pixel is one of the input's.
                *pixel = unsafe { taken.input.add((row * columns.input + column) * inputs) };
            }
        }
        for channel in (0..inputs).step_by(S::LANES) {
            let lanes = S::LANES.min(inputs - channel);
            // SAFETY: every pixel has `inputs` values; the strip has room for its tiles.
            unsafe {
                let mut half = [[S::splat(0.0); REACH]; REACH];
                for x in 0..REACH {
                    let mut line = [S::splat(0.0); REACH];
                    for (y, value) in line.iter_mut().enumerate() {
                        *value = S::load_first(pixels[y * REACH + x].add(channel), lanes);
                    }
                    half[x] = pixel_line::<S>(line);
                }
                for y in 0..REACH {
                    let mut line = [S::splat(0.0); REACH];
                    for (x, value) in line.iter_mut().enumerate() {
                        *value = half[x][y];
                    }
                    let line = pixel_line::<S>(line);
                    for x in 0..REACH {
                        let point = to.add((y * REACH + x) * apart + number * inputs + channel);
                        S::store_first(point, line[x], lanes);
                    }
                }
            }
        }
    }
}

/// B^T of the paper's section 4.3 by a column of six.
#[inline(always)]
unsafe fn pixel_line<S: Simd>(d: [S::V; 6]) -> [S::V; 6] {
    // SAFETY: the instruction set is the caller's.
    unsafe {
        let (minus_4, minus_5) = (S::splat(-4.0), S::splat(-5.0));
        let (four, two) = (S::splat(4.0), S::splat(2.0));
        let even = S::fma(d[2], minus_4, d[4]);
        let odd = S::fma(d[1], minus_4, d[3]);
        let even_2 = S::sub(d[4], d[2]);
        let odd_2 = S::mul(S::sub(d[3], d[1]), two);
        [
            S::fma(d[0], four, S::fma(d[2], minus_5, d[4])),
            S::add(even, odd),
            S::sub(even, odd),
            S::add(even_2, odd_2),
            S::sub(even_2, odd_2),
            S::fma(d[1], four, S::fma(d[3], minus_5, d[5])),
        ]
    }
}

/// Weights as float16 bits or float32.
pub(crate) enum Source {
    F16(*const u16),
    F32(*const f32),
}

/// Where nine taps of a panel's weights lie, and where their points go.
pub(crate) struct Taps {
    /// The first input channel's.
    pub(crate) from: Source,
    /// Values from one tap to the next.
    pub(crate) tap: usize,
    /// Input channels.
    pub(crate) count: usize,
    /// Vectors of output channels.
    pub(crate) vectors: usize,
    /// Values from one point to the next.
    pub(crate) apart: usize,
}

/// Transforms weights to `[point][input channel][output channel]`.
///
/// # Safety
/// `taps` must be valid, and `to` must have room for the points.
pub(crate) unsafe fn transform_weights(isa: Isa, taps: &Taps, to: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe {
        match taps.from {
            Source::F16(from) => half_weights(isa, taps, from, to),
            Source::F32(from) => full_weights(isa, taps, from, to),
        }
    }
}

/// The transformation, whatever loads a vector of weights.
macro_rules! weights_with {
    ($simd:ident, $taps:ident, $to:ident, |$at:ident| $load:expr) => {
        for vector in 0..$taps.count * $taps.vectors {
            let place = vector * $simd::LANES;
            // SAFETY: the caller's contract.
            unsafe {
                let mut half = [[$simd::splat(0.0); REACH]; 3];
                for x in 0..3 {
                    let mut line = [$simd::splat(0.0); 3];
                    for (y, value) in line.iter_mut().enumerate() {
                        let $at = (y * 3 + x) * $taps.tap + place;
                        *value = $load;
                    }
                    half[x] = weight_line::<$simd>(line);
                }
                for y in 0..REACH {
                    let line = weight_line::<$simd>([half[0][y], half[1][y], half[2][y]]);
                    for x in 0..REACH {
                        $simd::store($to.add((y * REACH + x) * $taps.apart + place), line[x]);
                    }
                }
            }
        }
    };
}

dispatch! {
    unsafe fn half_weights = half_with(taps: &Taps, from: *const u16, to: *mut f32)
}
dispatch! {
    unsafe fn full_weights = full_with(taps: &Taps, from: *const f32, to: *mut f32)
}

#[inline(always)]
unsafe fn half_with<S: Simd>(taps: &Taps, from: *const u16, to: *mut f32) {
    // SAFETY: the caller's contract.
    weights_with!(S, taps, to, |at| S::load_half(from.add(at)));
}

#[inline(always)]
unsafe fn full_with<S: Simd>(taps: &Taps, from: *const f32, to: *mut f32) {
    // SAFETY: the caller's contract.
    weights_with!(S, taps, to, |at| S::load(from.add(at)));
}

/// G of the paper's section 4.3 by a column of three.
#[inline(always)]
unsafe fn weight_line<S: Simd>(g: [S::V; 3]) -> [S::V; 6] {
    // SAFETY: the instruction set is the caller's.
    unsafe {
        let sixth = S::splat(-1.0 / 6.0);
        let outer = S::mul(S::add(g[0], g[2]), sixth);
        let outer_2 = S::fma(g[0], S::splat(1.0 / 24.0), S::mul(g[2], S::splat(1.0 / 6.0)));
        let (middle, middle_2) = (S::mul(g[1], sixth), S::mul(g[1], S::splat(1.0 / 12.0)));
        [
            S::mul(g[0], S::splat(0.25)),
            S::add(outer, middle),
            S::sub(outer, middle),
            S::add(outer_2, middle_2),
            S::sub(outer_2, middle_2),
            g[2],
        ]
    }
}

/// Sums of a strip of tiles for a panel, `[point][tile][output channel]`.
struct Sums<'a> {
    cut: &'a Winograd,
    shape: &'a ConvShape,
    panel: &'a Panel,
    bias: &'a [f32],
    sums: *const f32,
    strip: Range<usize>,
    finish: Finish<'a>,
}

dispatch! {
    unsafe fn transform_sums = sums_with(made: &Sums<'_>, output: *mut f32)
}

#[inline(always)]
unsafe fn sums_with<S: Simd>(made: &Sums<'_>, output: *mut f32) {
    let ConvShape { rows, columns, outputs, .. } = *made.shape;
    let width = made.panel.vectors * S::LANES;
    let apart = made.cut.sums_apart(width);
    let mut buffer = MaybeUninit::<[f32; SIDE * SIDE * MOST_LANES]>::uninit();
    let buffer = buffer.as_mut_ptr().cast::<f32>();
    for (number, tile) in made.strip.clone().enumerate() {
        let (top, left) = (tile / made.cut.tiles[1] * SIDE, tile % made.cut.tiles[1] * SIDE);
        let size = [SIDE.min(rows.output - top), SIDE.min(columns.output - left)];
        let place_of =
            |row: usize| ((top + row) * columns.output + left) * outputs + made.panel.channel;
        // Where a row of the tile goes first.
        let line_of = |row: usize| {
            if made.finish.is_short() {
                Rows { at: output.wrapping_add(place_of(row)), stride: outputs }
            } else {
                Rows { at: buffer.wrapping_add(row * SIDE * width), stride: width }
            }
        };
        for n in 0..made.panel.vectors {
            let lane = n * S::LANES;
            let lanes = S::LANES.min(made.panel.channels - lane);
            // SAFETY: the strip's sums are there; rows and columns of the tile beyond the output
            // are left out.
            unsafe {
                let from = made.sums.add(number * width + lane);
                let mut half = [[S::splat(0.0); SIDE]; REACH];
                for x in 0..REACH {
                    let mut line = [S::splat(0.0); REACH];
                    for (y, value) in line.iter_mut().enumerate() {
                        *value = S::load(from.add((y * REACH + x) * apart));
                    }
                    half[x] = sum_line::<S>(line);
                }
                let bias = S::load_first(made.bias.as_ptr().add(lane), lanes);
                for y in 0..size[0] {
                    let mut line = [S::splat(0.0); REACH];
                    for (x, value) in line.iter_mut().enumerate() {
                        *value = half[x][y];
                    }
                    let line = sum_line::<S>(line);
                    let to = line_of(y);
                    for x in 0..SIDE {
                        if x < size[1] {
                            let place = place_of(y) + x * outputs + lane;
                            let sum = S::add(line[x], bias);
                            let value = made.finish.in_registers::<S>(sum, place, lanes);
                            S::store_first(to.row(x).add(lane), value, lanes);
                        }
                    }
                }
            }
        }
        if !made.finish.is_short() {
            for y in 0..size[0] {
                let place = (place_of(y), outputs);
                let size = [size[1], made.panel.channels];
                // SAFETY: the rows lie inside the output.
                unsafe { made.finish.buffered(line_of(y), output, place, size) };
            }
        }
    }
}

/// A^T of the paper's section 4.3 by a column of six.
#[inline(always)]
unsafe fn sum_line<S: Simd>(m: [S::V; 6]) -> [S::V; 4] {
    // SAFETY: the instruction set is the caller's.
    unsafe {
        let (sum, difference) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (sum_2, difference_2) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(S::add(m[0], sum), sum_2),
            S::fma(difference_2, S::splat(2.0), difference),
            S::fma(sum_2, S::splat(4.0), sum),
            S::add(S::fma(difference_2, S::splat(8.0), difference), m[5]),
        ]
    }
}
