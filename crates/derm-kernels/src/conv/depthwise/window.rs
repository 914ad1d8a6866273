//! Square kernels of 3, 5 and 7 taps a side, stride 1 or 2: those of classifiers. The sums of up to
//! seven neighbouring pixels are in registers, so that each input pixel is loaded once for all of them.

use super::job::{Job, MAX_PIXELS};
use crate::simd::unroll::unrolled;
use crate::simd::vector::Simd;

/// Pixels of a tile, at least: narrower outputs are left to the generic kernel.
const MIN_PIXELS: usize = 4;

/// Computes the rows and returns true, or leaves the output alone where the convolution is of another
/// kind.
///
/// # Safety
/// The job must be as [`Job`] says.
#[inline(always)]
pub(super) unsafe fn run<S: Simd>(job: &Job<'_>) -> bool {
    let (rows, columns) = (job.geometry.rows(), job.geometry.columns());
    let is_square = rows.kernel() == columns.kernel() && rows.stride() == columns.stride();
    let is_dense = [rows, columns].iter().all(|axis| axis.dilation() == 1 && axis.spread() == 1);
    if !is_square || !is_dense || columns.output() < MIN_PIXELS {
        return false;
    }
    let tiles = columns.output().div_ceil(MAX_PIXELS);
    let pixels = columns.output().div_ceil(tiles).max(MIN_PIXELS);
    macro_rules! sizes {
        ($(($kernel:literal, $stride:literal, $pixels:literal))*) => {
            match (columns.kernel(), columns.stride(), pixels) {
                $(($kernel, $stride, $pixels) => {
                    // SAFETY: kernel and stride are those of both axes, and a row has as many pixels.
                    unsafe { rows_of::<S, $kernel, $stride, $pixels>(job) };
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

/// Kernels of `K` x `K` taps and stride `T`, in tiles of `P` pixels.
///
/// # Safety
/// The job must be as [`Job`] says, with these sizes, and at least `P` output columns.
#[inline(always)]
unsafe fn rows_of<S: Simd, const K: usize, const T: usize, const P: usize>(job: &Job<'_>) {
    let columns = job.geometry.columns();
    for row in job.rows.clone() {
        for tile in 0..columns.output().div_ceil(P) {
            // The last tile is moved back into the row and computes some pixels again.
            let column = (tile * P).min(columns.output() - P);
            // SAFETY: the tile lies inside the row.
            unsafe { tile_of::<S, K, T, P>(job, row, column) };
        }
    }
}

/// `P` neighbouring pixels of one output row, all channels.
///
/// # Safety
/// As [`rows_of`]; the pixels must lie inside the row.
#[inline(always)]
unsafe fn tile_of<S: Simd, const K: usize, const T: usize, const P: usize>(
    job: &Job<'_>,
    row: usize,
    column: usize,
) {
    let (rows, columns) = (job.geometry.rows(), job.geometry.columns());
    let channels = job.geometry.inputs();
    // The window begins here in the padded input; the rows and columns of it that are no padding:
    let (top, left) = (row * T, column * T);
    let inside = |start: usize, before: usize, input: usize, length: usize| {
        let end = (input + before).saturating_sub(start).min(length);
        before.saturating_sub(start).min(end)..end
    };
    let window_rows = inside(top, rows.before(), rows.input(), K);
    let window_columns = inside(left, columns.before(), columns.input(), (P - 1) * T + K);
    for channel in (0..channels).step_by(S::LANES) {
        let lanes = S::LANES.min(channels - channel);
        // SAFETY: pixels are loaded where the window is inside the input; every pixel, tap and the
        // bias have `channels` values, of which `lanes` are left from `channel` on.
        unsafe {
            let mut sums = [S::load_first(job.bias.add(channel), lanes); P];
            for y in window_rows.clone() {
                let mut weights = [S::splat(0.0); K];
                unrolled!(x below K, {
                    weights[x] = S::load_first(job.tap(y * K + x).add(channel), lanes);
                });
                // May lie before the input where its columns are padding, and is not read there.
                let line = (top + y - rows.before()) % job.input.held_rows;
                let line = (line * columns.input() + left) * channels + channel;
                let mut pixel =
                    job.input.values.wrapping_add(line).wrapping_sub(columns.before() * channels);
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
            let pixel = row % job.output.held_rows * columns.output() + column;
            job.store::<S, P>(sums, pixel * channels + channel, [P, lanes]);
        }
    }
}
