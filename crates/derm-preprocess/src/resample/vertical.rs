//! The pass along columns, while the rows arrive: only those outputs are held whose window has begun
//! and not ended. Weights as Pillow computes them (`precompute_coeffs` of its `Resample.c`): the
//! filter's radius grows with the scale when shrinking, windows end at the picture's edge, and the
//! weights of a window sum to one.

use crate::spec::Filter;
use multiversion::multiversion;

/// The input rows of one output row, and their weights.
#[derive(Debug, Clone)]
struct Window {
    /// Index of the output row.
    output: usize,
    first: usize,
    weights: Vec<f32>,
}

/// Resizes columns.
#[derive(Debug)]
pub(super) struct VerticalPass {
    /// In the order in which they end.
    windows: Vec<Window>,
    /// The first one that has not ended.
    first_open: usize,
    /// Weighted sums of the open windows: a ring, window i has element i modulo its length.
    sums: Vec<Vec<f32>>,
    /// The next input row.
    row: usize,
    finished: Vec<u8>,
}

fn weight(filter: Filter, x: f64) -> f64 {
    let x = x.abs();
    match filter {
        Filter::Bilinear => (1.0 - x).max(0.0),
        // Keys' cubic convolution with a = -1/2.
        Filter::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
        Filter::Bicubic if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
        Filter::Bicubic => 0.0,
    }
}

/// The windows of `outputs` rows over the interval `start`, `length` of `rows` rows.
fn windows(
    filter: Filter,
    rows: usize,
    (start, length): (f64, f64),
    outputs: usize,
) -> Vec<Window> {
    let scale = length / outputs as f64;
    let widened = scale.max(1.0);
    let reach = filter.support() * widened;
    (0..outputs)
        .map(|output| {
            let centre = start + (output as f64 + 0.5) * scale;
            let first = ((centre - reach + 0.5) as usize).min(rows - 1);
            let end = ((centre + reach + 0.5) as usize).clamp(first + 1, rows);
            let at = |row: usize| weight(filter, (row as f64 - centre + 0.5) / widened);
            let sum: f64 = (first..end).map(at).sum();
            let weights = (first..end).map(|row| (at(row) / sum) as f32).collect();
            Window { output, first, weights }
        })
        .collect()
}

/// The largest number of windows that are open at once; they are in order.
fn most_open(windows: &[Window]) -> usize {
    let mut closed = 0;
    let mut most = 1;
    for (number, window) in windows.iter().enumerate() {
        while windows[closed].first + windows[closed].weights.len() <= window.first {
            closed += 1;
        }
        most = most.max(number + 1 - closed);
    }
    most
}

impl VerticalPass {
    /// For `rows` rows of `width` values, which arrive from the lowest one if `bottom_up`; the interval
    /// `window` (start and length, in rows from the top) becomes `outputs` rows.
    pub(super) fn new(
        filter: Filter,
        rows: usize,
        bottom_up: bool,
        window: (f64, f64),
        outputs: usize,
        width: usize,
    ) -> VerticalPass {
        let mut windows = windows(filter, rows, window, outputs);
        if bottom_up {
            windows.reverse();
            for window in &mut windows {
                window.first = rows - window.first - window.weights.len();
                window.weights.reverse();
            }
        }
        let sums = vec![vec![0.0; width]; most_open(&windows)];
        VerticalPass { windows, first_open: 0, sums, row: 0, finished: vec![0; width] }
    }

    /// Bytes that [`VerticalPass::new`] allocates, at most.
    pub(super) fn memory(
        filter: Filter,
        rows: usize,
        window: (f64, f64),
        outputs: usize,
        width: usize,
    ) -> u64 {
        // No window is longer than this; as many are open as begin within one.
        let scale = window.1 / outputs as f64;
        let longest = 2.0 * filter.support() * scale.max(1.0) + 2.0;
        let open = (longest / scale + 1.0).min(outputs as f64);
        let weights = outputs as f64 * longest.min(rows as f64);
        let lists = 48 * outputs as u64;
        (4.0 * (open * width as f64 + weights)) as u64 + width as u64 + lists
    }

    /// Takes the next row; `finish` gets the index and the values of each output row that it
    /// completes.
    pub(super) fn push(&mut self, row: &[u8], mut finish: impl FnMut(usize, &[u8])) {
        let count = self.sums.len();
        let mut number = self.first_open;
        while let Some(window) = self.windows.get(number)
            && window.first <= self.row
        {
            let sums = &mut self.sums[number % count];
            let index = self.row - window.first;
            if let Some(&weight) = window.weights.get(index) {
                if index == 0 {
                    sums.fill(0.0);
                }
                add(sums, row, weight);
            }
            if index + 1 == window.weights.len() {
                round(sums, &mut self.finished);
                finish(window.output, &self.finished);
            }
            number += 1;
        }
        while self
            .windows
            .get(self.first_open)
            .is_some_and(|w| w.first + w.weights.len() <= self.row + 1)
        {
            self.first_open += 1;
        }
        self.row += 1;
    }
}

/// Adds a row times its weight.
#[multiversion(targets("x86_64+avx+avx2+fma"))]
fn add(sums: &mut [f32], row: &[u8], weight: f32) {
    sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += weight * f32::from(value));
}

/// Rounds to the nearest of 0..=255.
#[multiversion(targets("x86_64+avx+avx2+fma"))]
fn round(sums: &[f32], to: &mut [u8]) {
    for (to, &sum) in to.iter_mut().zip(sums) {
        // Clamped before the cast: saturating casts are not vectorised.
        *to = (sum + 0.5).clamp(0.0, 255.0) as i32 as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum that defines resampling, for one column.
    fn reference(filter: Filter, column: &[u8], window: (f64, f64), outputs: usize) -> Vec<f64> {
        let windows = windows(filter, column.len(), window, outputs);
        let sum = |window: &Window| {
            let rows = column[window.first..].iter().zip(&window.weights);
            rows.map(|(&row, &weight)| f64::from(row) * f64::from(weight)).sum::<f64>()
        };
        windows.iter().map(|window| sum(window).clamp(0.0, 255.0)).collect()
    }

    #[test]
    fn rows_that_arrive_one_by_one_give_the_whole_sums() {
        let column: Vec<u8> = (0..97u32).map(|row| (row * row * 7 % 251) as u8).collect();
        for filter in [Filter::Bilinear, Filter::Bicubic] {
            for (window, outputs) in
                [((0.0, 97.0), 13), ((0.0, 97.0), 200), ((10.5, 40.25), 20), ((0.0, 97.0), 97)]
            {
                let expected = reference(filter, &column, window, outputs);
                for bottom_up in [false, true] {
                    let mut pass = VerticalPass::new(filter, 97, bottom_up, window, outputs, 1);
                    let mut found = vec![None; outputs];
                    let mut push = |row: u8| pass.push(&[row], |at, row| found[at] = Some(row[0]));
                    match bottom_up {
                        false => column.iter().for_each(|&row| push(row)),
                        true => column.iter().rev().for_each(|&row| push(row)),
                    }
                    for (found, expected) in found.iter().zip(&expected) {
                        let off = f64::from(found.unwrap()) - expected;
                        assert!(off.abs() <= 0.501, "{filter:?} {window:?} to {outputs}: {off}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_announced_memory_covers_what_is_held() {
        for (rows, outputs) in [(1, 1), (5, 300), (300, 5), (3000, 224), (224, 224)] {
            for filter in [Filter::Bilinear, Filter::Bicubic] {
                let window = (0.0, rows as f64);
                let pass = VerticalPass::new(filter, rows, false, window, outputs, 30);
                let weights: usize = pass.windows.iter().map(|window| window.weights.len()).sum();
                let held = 4 * (weights + 30 * pass.sums.len()) + pass.finished.len();
                let announced = VerticalPass::memory(filter, rows, window, outputs, 30);
                assert!(held as u64 <= announced, "{rows} to {outputs}: {held} of {announced}");
            }
        }
    }
}
