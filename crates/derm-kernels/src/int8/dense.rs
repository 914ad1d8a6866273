//! Dense and grouped convolution: tiles of output pixels by panels of output channels, the sums in
//! registers. No patch matrix is built where the inputs at a pixel are whole groups of four; elsewhere
//! (the three channels of a picture) the taps of some pixels at a time are gathered side by side.

use super::call::ConvCall;
use super::dispatch::dispatch_int8;
use super::epilogue::{Int8Epilogue, apply};
use super::requantize::Requantize;
use super::vector::Int8Simd;
use super::weights::{Panel, is_gathered, quads};
use crate::geometry::conv::ConvGeometry;
use crate::simd::unroll::unrolled;
use std::ops::Range;

/// Pixels that are gathered at once.
const GATHERED: usize = 48;

/// Bytes of scratch: a pixel of padding, or gathered pixels.
pub(super) fn scratch_len(geometry: &ConvGeometry) -> usize {
    if is_gathered(geometry) { GATHERED * gathered_stride(geometry) } else { geometry.depth() }
}

/// Computes these panels' channels of these output pixels.
///
/// # Safety
/// The output must be valid for writes to them, which nobody else may touch.
pub(super) unsafe fn run(
    call: &ConvCall<'_>,
    panels: &[Panel],
    pixels: Range<usize>,
    scratch: &mut [u8],
) {
    if is_gathered(call.geometry) {
        let mut first = pixels.start;
        while first < pixels.end {
            let some = first..pixels.end.min(first + GATHERED);
            first = some.end;
            for of_group in panels.chunk_by(|a, b| a.group == b.group) {
                gather(call, of_group[0].group, some.clone(), scratch);
                let source = Source {
                    start: scratch.as_ptr(),
                    first: some.start,
                    stride: gathered_stride(call.geometry),
                    quads: quads(call.geometry),
                    taps: None,
                };
                // SAFETY: the pixels were just gathered; the rest is the contract of this function.
                of_group.iter().for_each(|panel| unsafe {
                    run_panel(call.kind, call, &source, panel, some.clone());
                });
            }
        }
        return;
    }
    let depth = call.geometry.depth();
    let padding = &mut scratch[..depth];
    padding.fill(call.input_zero);
    let is_flat = call.geometry.rows().is_pointwise() && call.geometry.columns().is_pointwise();
    for panel in panels {
        // SAFETY: a group's channels are inside each pixel.
        let start = unsafe { call.input.as_ptr().add(panel.group * depth) };
        let source = Source {
            start,
            first: 0,
            stride: call.geometry.inputs(),
            quads: depth / 4,
            taps: (!is_flat).then_some(Taps { geometry: call.geometry, padding: padding.as_ptr() }),
        };
        // SAFETY: the input has the geometry's length; the rest is the contract of this function.
        unsafe { run_panel(call.kind, call, &source, panel, pixels.clone()) };
    }
}

/// Stride: bytes from one gathered pixel to the next, which are its taps, and room for what [`copy_ahead`] writes beyond them.
fn gathered_stride(geometry: &ConvGeometry) -> usize {
    let line = geometry.columns().kernel() * geometry.depth();
    let ahead = line.next_multiple_of(PIECE) - line;
    (4 * quads(geometry)).max(geometry.rows().kernel() * line + ahead)
}

/// Writes the taps of each of some pixels side by side, filled up to whole groups of four.
fn gather(call: &ConvCall<'_>, group: usize, pixels: Range<usize>, mut to: &mut [u8]) {
    let (width, stride) = (call.geometry.columns().output(), gathered_stride(call.geometry));
    let mut pixel = pixels.start;
    while pixel < pixels.end {
        let columns = pixel % width..width.min(pixel % width + pixels.end - pixel);
        let (of_row, rest) = to.split_at_mut(columns.len() * stride);
        gather_row(call, group, pixel / width, columns.clone(), of_row);
        (pixel, to) = (pixel + columns.len(), rest);
    }
}

/// As [`gather`], of some columns of a row: one row of the window after the other, since what is written ahead of
/// one belongs to the next.
fn gather_row(call: &ConvCall<'_>, group: usize, row: usize, of: Range<usize>, to: &mut [u8]) {
    let geometry = call.geometry;
    let (rows, columns, depth) = (geometry.rows(), geometry.columns(), geometry.depth());
    let (line, stride) = (columns.kernel() * depth, gathered_stride(geometry));
    // Where no column is padding, the taps of a row of the window are contiguous in the input.
    let is_contiguous = depth == geometry.inputs() && columns.dilation() == 1;
    let inside = if is_contiguous { columns.inside() } else { 0..0 };
    let inside = inside.start.clamp(of.start, of.end)..inside.end.clamp(of.start, of.end);
    let padding = (of.start..inside.start).chain(inside.end..of.end);
    for tap in 0..rows.kernel() {
        let to = &mut to[tap * line..];
        let Some(row) = rows.input_index(row, tap) else {
            to.chunks_mut(stride).for_each(|patch| patch[..line].fill(call.input_zero));
            continue;
        };
        let input = &call.input[row * columns.input() * geometry.inputs()..];
        for column in padding.clone() {
            let patch = &mut to[(column - of.start) * stride..][..line];
            for (tap, patch) in patch.chunks_exact_mut(depth).enumerate() {
                match columns.input_index(column, tap) {
                    None => patch.fill(call.input_zero),
                    Some(column) => {
                        let start = column * geometry.inputs() + group * depth;
                        patch.copy_from_slice(&input[start..start + depth]);
                    }
                }
            }
        }
        if inside.is_empty() {
            continue;
        }
        let first = (inside.start * columns.stride() - columns.before()) * depth;
        for index in 0..inside.len() {
            let from = &input[first + index * columns.stride() * depth..];
            copy_ahead(from, &mut to[(inside.start - of.start + index) * stride..], line);
        }
    }
}

/// Bytes that are copied at once.
const PIECE: usize = 16;

/// Copies `count` bytes, and up to a whole piece beyond them where there are so many: a call of `memcpy` takes longer
/// than so few do.
#[inline(always)]
fn copy_ahead(from: &[u8], to: &mut [u8], count: usize) {
    let mut start = 0;
    loop {
        match (from.get(start..start + PIECE), to.get_mut(start..start + PIECE)) {
            (Some(from), Some(to)) => to.copy_from_slice(from),
            _ => return to[start..count].copy_from_slice(&from[start..count]),
        }
        start += PIECE;
        if start >= count {
            return;
        }
    }
}

/// Where a tile reads its pixels.
struct Source<'a> {
    start: *const u8,
    /// The output pixel whose input is at `start`, where each reads one input pixel.
    first: usize,
    /// From one pixel to the next.
    stride: usize,
    /// Groups of four inputs at a tap.
    quads: usize,
    /// None where each output pixel reads one input pixel.
    taps: Option<Taps<'a>>,
}

#[derive(Clone, Copy)]
struct Taps<'a> {
    geometry: &'a ConvGeometry,
    /// What is read beyond the input.
    padding: *const u8,
}

dispatch_int8! {
    /// # Safety
    /// The source must be valid for these pixels, the call's weights, bias and scales for the panel,
    /// and its output for writes to the panel's channels of these pixels.
    unsafe fn run_panel = panel_kernel(
        call: &ConvCall<'_>,
        source: &Source<'_>,
        panel: &Panel,
        pixels: Range<usize>,
    )
}

/// # Safety
/// As [`run_panel`].
#[inline(always)]
unsafe fn panel_kernel<S: Int8Simd>(
    call: &ConvCall<'_>,
    source: &Source<'_>,
    panel: &Panel,
    pixels: Range<usize>,
) {
    // SAFETY: the contract of this function; each number of vectors has its own tiles.
    unsafe {
        match (S::REGISTERS, panel.vectors) {
            (32, 1) => tiles::<S, 8, 1>(call, source, panel, pixels),
            (32, 2) => tiles::<S, 8, 2>(call, source, panel, pixels),
            (32, 3) => tiles::<S, 6, 3>(call, source, panel, pixels),
            (32, _) => tiles::<S, 6, 4>(call, source, panel, pixels),
            (_, 1) => tiles::<S, 4, 1>(call, source, panel, pixels),
            _ => tiles::<S, 4, 2>(call, source, panel, pixels),
        }
    }
}

/// # Safety
/// As [`run_panel`], for a panel of `N` vectors.
#[inline(always)]
unsafe fn tiles<S: Int8Simd, const M: usize, const N: usize>(
    call: &ConvCall<'_>,
    source: &Source<'_>,
    panel: &Panel,
    pixels: Range<usize>,
) {
    // SAFETY: all tiles lie inside `pixels`.
    unsafe {
        if pixels.len() < M {
            return pixels.for_each(|pixel| tile::<S, 1, N>(call, source, panel, pixel));
        }
        let mut pixel = pixels.start;
        while pixel < pixels.end {
            // The last tile computes some pixels of the one before again.
            let first = pixel.min(pixels.end - M);
            tile::<S, M, N>(call, source, panel, first);
            pixel = first + M;
        }
    }
}

/// `M` pixels from `pixel` on by the `N` vectors of a panel.
///
/// # Safety
/// As [`run_panel`].
#[inline(always)]
unsafe fn tile<S: Int8Simd, const M: usize, const N: usize>(
    call: &ConvCall<'_>,
    source: &Source<'_>,
    panel: &Panel,
    pixel: usize,
) {
    // SAFETY: the contract of `run_panel`: pointers of a source are valid for its groups of four;
    // weights, bias and scales have whole vectors.
    unsafe {
        let mut sums = [[S::splat(0); N]; M];
        unrolled!(n below N, {
            let bias = S::load(call.bias.as_ptr().add(panel.padded + n * S::LANES).cast());
            unrolled!(m below M, {
                sums[m][n] = bias;
            });
        });
        let mut weights = call.weights.as_ptr().add(panel.start);
        match source.taps {
            None => {
                let mut pixels = [source.start; M];
                unrolled!(m below M, {
                    pixels[m] = source.start.add((pixel + m - source.first) * source.stride);
                });
                S::accumulate::<M, N>(&mut sums, &pixels, weights, source.quads);
            }
            Some(Taps { geometry, padding }) => {
                let (rows, columns) = (geometry.rows(), geometry.columns());
                let mut at = [(0, 0); M];
                unrolled!(m below M, {
                    at[m] = ((pixel + m) / columns.output(), (pixel + m) % columns.output());
                });
                for row_tap in 0..rows.kernel() {
                    for column_tap in 0..columns.kernel() {
                        let mut pixels = [padding; M];
                        unrolled!(m below M, {
                            let row = rows.input_index(at[m].0, row_tap);
                            let column = columns.input_index(at[m].1, column_tap);
                            if let (Some(row), Some(column)) = (row, column) {
                                let index = row * columns.input() + column;
                                pixels[m] = source.start.add(index * source.stride);
                            }
                        });
                        S::accumulate::<M, N>(&mut sums, &pixels, weights, source.quads);
                        weights = weights.add(source.quads * N * S::BYTES);
                    }
                }
            }
        }
        write::<S, M, N>(call, panel, pixel, &sums);
    }
}

/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn write<S: Int8Simd, const M: usize, const N: usize>(
    call: &ConvCall<'_>,
    panel: &Panel,
    pixel: usize,
    sums: &[[S::V; N]; M],
) {
    let Requantize { zero_point, low, high } = *call.requantize;
    let [zero_point, low, high] = [zero_point, low, high].map(i32::from);
    let stride = call.geometry.outputs();
    // An addition that comes first is done in registers.
    let (addition, epilogue) = match call.epilogue {
        [Int8Epilogue::Add { add, other, is_left }, rest @ ..] => {
            (Some((*add, *other, *is_left)), rest)
        }
        all => (None, all),
    };
    // SAFETY: the contract of `run_panel`: the panel's channels of these pixels may be written; an operand is as long
    // as the output.
    unsafe {
        let index = pixel * stride + panel.channel;
        unrolled!(n below N, {
            let scales = call.scales.as_ptr().add(panel.padded + n * S::LANES);
            let count = S::LANES.min(panel.channels - n * S::LANES);
            unrolled!(m below M, {
                let mut value = S::requantize(sums[m][n], scales, zero_point, low, high);
                let index = index + m * stride + n * S::LANES;
                if let Some((add, other, is_left)) = addition {
                    value = S::add(add, value, other.as_ptr().add(index), is_left, count);
                }
                S::store_lanes(call.output.add(index), value, count);
            });
        });
        if !epilogue.is_empty() {
            for m in 0..M {
                let index = index + m * stride;
                apply(epilogue, call.output.add(index), index, panel.channels);
            }
        }
    }
}
