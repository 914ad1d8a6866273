//! Square kernels of 3, 5 and 7 places, stride 1 or 2: what classifiers have. The sums of up to
//! seven neighbouring pixels are in registers, so that each input pixel is loaded once for all of them.

use super::{Call, MOST_PIXELS, store};
use crate::simd::Simd;
use crate::unrolled::unrolled;

/// Pixels of a tile, at least: narrower outputs are left to the general way.
const LEAST_PIXELS: usize = 4;

/// Does it, and says so; or leaves the output alone, where the convolution is of another kind.
///
/// # Safety
/// As for [`super::run_rows`].
#[inline(always)]
pub(super) unsafe fn rows<S: Simd>(call: &Call<'_>, output: *mut f32) -> bool {
    let (rows, columns) = (call.shape.rows, call.shape.columns);
    let square = rows.kernel == columns.kernel && rows.stride == columns.stride;
    let plain = [rows, columns].iter().all(|axis| axis.dilation == 1 && axis.spread == 1);
    if !square || !plain || columns.output < LEAST_PIXELS {
        return false;
    }
    let tiles = columns.output.div_ceil(MOST_PIXELS);
    let pixels = columns.output.div_ceil(tiles).max(LEAST_PIXELS);
    macro_rules! sizes {
        ($(($kernel:literal, $stride:literal, $pixels:literal))*) => {
            match (columns.kernel, columns.stride, pixels) {
                $(($kernel, $stride, $pixels) => {
                    // SAFETY: the caller's contract.
                    unsafe { rows_of::<S, $kernel, $stride, $pixels>(call, output) };
                })*
                _ => return false,
            }
        };
    }
    sizes! {
        (3, 1, 4) (3, 1, 5) (3, 1, 6) (3, 1, 7) (3, 2, 4) (3, 2, 5) (3, 2, 6) (3, 2, 7)
        (5, 1, 4) (5, 1, 5) (5, 1, 6) (5, 1, 7) (5, 2, 4) (5, 2, 5) (5, 2, 6) (5, 2, 7)
        (7, 1, 4) (7, 1, 5) (7, 1, 6) (7, 1, 7)
    }
    true
}

#[inline(always)]
unsafe fn rows_of<S: Simd, const K: usize, const T: usize, const P: usize>(
    call: &Call<'_>,
    output: *mut f32,
) {
    let columns = call.shape.columns;
    for row in call.rows.clone() {
        for tile in 0..columns.output.div_ceil(P) {
            // The last tile is moved back into the row and computes some pixels again.
            let column = (tile * P).min(columns.output - P);
            // SAFETY: the tile lies inside the output.
            unsafe { tile_of::<S, K, T, P>(call, row, column, output) };
        }
    }
}

/// `P` neighbouring pixels of one output row, all channels.
#[inline(always)]
unsafe fn tile_of<S: Simd, const K: usize, const T: usize, const P: usize>(
    call: &Call<'_>,
    row: usize,
    column: usize,
    output: *mut f32,
) {
    let (rows, columns, channels) = (call.shape.rows, call.shape.columns, call.shape.inputs);
    // The input's window begins here, `before` places earlier; which of its rows and columns are
    // no padding?
    let (top, left) = (row * T, column * T);
    let inside = |start: usize, before: usize, input: usize, length: usize| {
        let end = (input + before).saturating_sub(start).min(length);
        before.saturating_sub(start).min(end)..end
    };
    let window_rows = inside(top, rows.before, rows.input, K);
    let window_columns = inside(left, columns.before, columns.input, (P - 1) * T + K);
    for channel in (0..channels).step_by(S::LANES) {
        let lanes = S::LANES.min(channels - channel);
        // SAFETY: pixels are loaded inside the window only, lanes inside the channels.
        unsafe {
            let mut sums = [S::load_first(call.bias.add(channel), lanes); P];
            for y in window_rows.clone() {
                let mut weights = [S::splat(0.0); K];
                unrolled!(x below K, {
                    weights[x] = S::load_first(call.tap(y * K + x).add(channel), lanes);
                });
                // May lie before the input where its columns are padding, and is not read there.
                let line = (top + y - rows.before) % call.input.kept;
                let line = (line * columns.input + left) * channels + channel;
                let mut pixel =
                    call.input.values.wrapping_add(line).wrapping_sub(columns.before * channels);
                unrolled!(x below (P - 1) * T + K, {
                    if window_columns.contains(&x) {
                        let value = S::load_first(pixel, lanes);
                        unrolled!(p below P, {
                            if x >= p * T && x - p * T < K {
                                sums[p] = S::fma(value, weights[x - p * T], sums[p]);
                            }
                        });
                    }
                    pixel = pixel.wrapping_add(channels);
                });
            }
            let place = (row % call.kept * columns.output + column) * channels + channel;
            store::<S, P>(call, sums, place, [P, lanes], output);
        }
    }
}
