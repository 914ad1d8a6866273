//! Resampling from row to row while the rows come: only those outputs are held whose window is
//! open. Weights as Pillow computes them (`precompute_coeffs` of its `Resample.c`): the filter's
//! reach grows with the scale when shrinking, windows end at the picture's edge, and the weights of
//! a window sum to one.

use crate::Filter;
use multiversion::multiversion;

/// The rows that one output is made of.
#[derive(Debug, Clone)]
struct Window {
    /// Place of the output.
    output: usize,
    first: usize,
    weights: Vec<f32>,
}

/// Rows in, resampled rows out.
#[derive(Debug)]
pub(crate) struct Down {
    /// In the order in which they close.
    windows: Vec<Window>,
    /// The first one that is not closed.
    open: usize,
    /// Sums of the windows that are open: that of window i is number i modulo the count.
    sums: Vec<Vec<f32>>,
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

impl Filter {
    /// How far it reaches, in the larger of the two kinds of pixels.
    pub(crate) fn support(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
        }
    }
}

/// The windows of `outputs` rows over the stretch `start`, `length` of `rows` rows.
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

/// Most windows that are open at once; they are in order.
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

impl Down {
    /// `rows` rows of `width` values come, from below if `from_below`; the stretch `window` (in
    /// rows from the top) becomes `outputs` rows.
    pub(crate) fn new(
        filter: Filter,
        rows: usize,
        from_below: bool,
        window: (f64, f64),
        outputs: usize,
        width: usize,
    ) -> Down {
        let mut windows = windows(filter, rows, window, outputs);
        if from_below {
            windows.reverse();
            for window in &mut windows {
                window.first = rows - window.first - window.weights.len();
                window.weights.reverse();
            }
        }
        let sums = vec![vec![0.0; width]; most_open(&windows)];
        Down { windows, open: 0, sums, row: 0, finished: vec![0; width] }
    }

    /// Bytes that [`Down::new`] takes.
    pub(crate) fn memory(
        filter: Filter,
        rows: usize,
        window: (f64, f64),
        outputs: usize,
        width: usize,
    ) -> u64 {
        // A window is no longer than this; as many are open as begin within one.
        let scale = window.1 / outputs as f64;
        let longest = 2.0 * filter.support() * scale.max(1.0) + 2.0;
        let open = (longest / scale + 1.0).min(outputs as f64);
        let weights = outputs as f64 * longest.min(rows as f64);
        (4.0 * (open * width as f64 + weights)) as u64 + width as u64
    }

    /// Takes the next row; `finish` gets each output that it completes, and its place.
    pub(crate) fn push(&mut self, row: &[u8], mut finish: impl FnMut(usize, &[u8])) {
        let count = self.sums.len();
        let mut number = self.open;
        while let Some(window) = self.windows.get(number)
            && window.first <= self.row
        {
            let sums = &mut self.sums[number % count];
            let place = self.row - window.first;
            if let Some(&weight) = window.weights.get(place) {
                if place == 0 {
                    sums.fill(0.0);
                }
                add(sums, row, weight);
            }
            if place + 1 == window.weights.len() {
                round(sums, &mut self.finished);
                finish(window.output, &self.finished);
            }
            number += 1;
        }
        while self.windows.get(self.open).is_some_and(|w| w.first + w.weights.len() <= self.row + 1)
        {
            self.open += 1;
        }
        self.row += 1;
    }
}

/// Adds a row, times its weight.
#[multiversion(targets("x86_64+avx+avx2+fma"))]
fn add(sums: &mut [f32], row: &[u8], weight: f32) {
    sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += weight * f32::from(value));
}

/// To the nearest of 0..=255.
#[multiversion(targets("x86_64+avx+avx2+fma"))]
fn round(sums: &[f32], to: &mut [u8]) {
    for (to, &sum) in to.iter_mut().zip(sums) {
        // Held before the cast: saturating casts are not made by vectors.
        *to = (sum + 0.5).clamp(0.0, 255.0) as i32 as u8;
    }
}
