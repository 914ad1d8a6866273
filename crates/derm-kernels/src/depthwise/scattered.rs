//! Any kernel, stride, dilation and spread: each tap's pixels are looked up.

use super::{Call, store};
use crate::simd::Simd;

/// Output pixels whose sums are held in registers at once.
const PIXELS: usize = 6;

/// # Safety
/// As for [`super::run_rows`].
#[inline(always)]
pub(super) unsafe fn rows<S: Simd>(call: &Call<'_>, output: *mut f32) {
    let columns = call.shape.columns;
    let taps = call.shape.rows.kernel * columns.kernel;
    // Where the input pixel of each tap and each output pixel of a tile lies.
    let mut pixels = vec![[call.zeros; PIXELS]; taps];
    for row in call.rows.clone() {
        for column in (0..columns.output).step_by(PIXELS) {
            let count = PIXELS.min(columns.output - column);
            // SAFETY: rows and columns are those of the output, pixels are checked against the
            // input's size.
            unsafe {
                find(call, row, column, &mut pixels);
                tile::<S>(call, &pixels, row % call.kept * columns.output + column, count, output);
            }
        }
    }
}

/// Finds the pixels of a tile; zeros where there is padding.
///
/// # Safety
/// The input must have the shape's length.
unsafe fn find(call: &Call<'_>, row: usize, column: usize, pixels: &mut [[*const f32; PIXELS]]) {
    let (rows, columns, channels) = (call.shape.rows, call.shape.columns, call.shape.inputs);
    for (tap, pixels) in pixels.iter_mut().enumerate() {
        let input_row = rows.place(row, tap / columns.kernel);
        for (p, pixel) in pixels.iter_mut().enumerate() {
            let place = columns.place(column + p, tap % columns.kernel);
            *pixel = match (input_row, place) {
                // SAFETY: `place` gives places inside the input.
                (Some(row), Some(place)) => unsafe {
                    let row = row % call.input.kept;
                    call.input.values.add((row * columns.input + place) * channels)
                },
                _ => call.zeros,
            };
        }
    }
}

/// All channels of up to `PIXELS` neighbouring output pixels, the first of them number `pixel`.
#[inline(always)]
unsafe fn tile<S: Simd>(
    call: &Call<'_>,
    pixels: &[[*const f32; PIXELS]],
    pixel: usize,
    count: usize,
    output: *mut f32,
) {
    let channels = call.shape.inputs;
    for channel in (0..channels).step_by(S::LANES) {
        let lanes = S::LANES.min(channels - channel);
        // SAFETY: every pixel has `channels` values; no lane beyond them is loaded or stored.
        unsafe {
            let mut sums = [S::load_first(call.bias.add(channel), lanes); PIXELS];
            for (tap, pixels) in pixels.iter().enumerate() {
                let weight = S::load_first(call.tap(tap).add(channel), lanes);
                for p in 0..PIXELS {
                    let value = S::load_first(pixels[p].add(channel), lanes);
                    sums[p] = S::fma(value, weight, sums[p]);
                }
            }
            let place = pixel * channels + channel;
            store::<S, PIXELS>(call, sums, place, [count, lanes], output);
        }
    }
}
