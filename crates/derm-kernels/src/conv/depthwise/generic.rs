//! Any kernel, stride and dilation: the pixels of every tap are looked up.

use super::job::Job;
use crate::simd::vector::Simd;

/// Output pixels whose sums are held in registers at once.
const PIXELS: usize = 6;

/// # Safety
/// The job must be as [`Job`] says.
#[inline(always)]
pub(super) unsafe fn run<S: Simd>(job: &Job<'_>) {
    let columns = job.geometry.columns();
    // Where the input pixel of each tap and each output pixel of a tile lies.
    let mut pixels = vec![[job.zeros; PIXELS]; job.geometry.taps()];
    for row in job.rows.clone() {
        for column in (0..columns.output()).step_by(PIXELS) {
            let count = PIXELS.min(columns.output() - column);
            let pixel = row % job.output.held_rows * columns.output() + column;
            // SAFETY: the tile's `count` pixels are inside the row.
            unsafe {
                find_pixels(job, row, column, &mut pixels);
                tile::<S>(job, &pixels, pixel, count);
            }
        }
    }
}

/// Finds the pixels of a tile; zeros where there is padding.
///
/// # Safety
/// The job must be as [`Job`] says.
unsafe fn find_pixels(
    job: &Job<'_>,
    row: usize,
    column: usize,
    pixels: &mut [[*const f32; PIXELS]],
) {
    let (rows, columns) = (job.geometry.rows(), job.geometry.columns());
    for (tap, pixels) in pixels.iter_mut().enumerate() {
        let input_row = rows.input_index(row, tap / columns.kernel());
        for (p, pixel) in pixels.iter_mut().enumerate() {
            let input_column = columns.input_index(column + p, tap % columns.kernel());
            *pixel = match (input_row, input_column) {
                // SAFETY: `input_index` gives positions inside the input.
                (Some(row), Some(column)) => unsafe {
                    let row = row % job.input.held_rows;
                    let pixel = row * columns.input() + column;
                    job.input.values.add(pixel * job.geometry.inputs())
                },
                _ => job.zeros,
            };
        }
    }
}

/// All channels of `count` neighbouring output pixels, the first of them number `pixel` of what is in
/// memory.
///
/// # Safety
/// `pixels` must be those that [`find_pixels`] finds, and the output pixels elements of the job's rows.
#[inline(always)]
unsafe fn tile<S: Simd>(
    job: &Job<'_>,
    pixels: &[[*const f32; PIXELS]],
    pixel: usize,
    count: usize,
) {
    let channels = job.geometry.inputs();
    for channel in (0..channels).step_by(S::LANES) {
        let lanes = S::LANES.min(channels - channel);
        // SAFETY: every pixel, tap and the bias have `channels` values, of which `lanes` are left from
        // `channel` on.
        unsafe {
            let mut sums = [S::load_first(job.bias.add(channel), lanes); PIXELS];
            for (tap, pixels) in pixels.iter().enumerate() {
                let weight = S::load_first(job.tap(tap).add(channel), lanes);
                for p in 0..PIXELS {
                    let value = S::load_first(pixels[p].add(channel), lanes);
                    sums[p] = S::fma(value, weight, sums[p]);
                }
            }
            job.store::<S, PIXELS>(sums, pixel * channels + channel, [count, lanes]);
        }
    }
}
