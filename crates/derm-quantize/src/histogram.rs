//! The values of one tensor over all calibration pictures, counted, and the ranges that follow.

/// Bins on each side of zero. Their width is a power of two, the least that covers all values, so that
/// the counts do not depend on the order in which values come.
const SIDE: usize = 4096;
/// Numbers of the quantised tensor.
const LEVELS: f64 = 255.0;
/// Share of the values that the percentile leaves out on each side.
const LEFT_OUT: f64 = 1e-4;
/// Shares of the whole range that the least squared error is searched in.
const STEPS: usize = 40;

/// How the range of a tensor is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// From the least to the largest value.
    MinMax,
    /// All but one in 10,000 values on each side.
    Percentile,
    /// The range of least squared error over the counted values.
    SquaredError,
}

impl Method {
    /// All methods.
    pub const ALL: [Method; 3] = [Method::MinMax, Method::Percentile, Method::SquaredError];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Method::MinMax => "min-max",
            Method::Percentile => "percentile",
            Method::SquaredError => "MSE",
        }
    }
}

/// Counted values.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    width: f32,
    counts: Vec<u64>,
    low: f32,
    high: f32,
}

impl Histogram {
    pub(crate) fn new() -> Histogram {
        let width = (2f32).powi(-40);
        Histogram { width, counts: vec![0; 2 * SIDE], low: 0.0, high: 0.0 }
    }

    /// Whether the values are finite; if not, none is added.
    pub(crate) fn add<'v>(&mut self, values: impl Iterator<Item = &'v f32> + Clone) -> bool {
        let (mut low, mut high, mut sum) = (self.low, self.high, 0f32);
        for &value in values.clone() {
            low = low.min(value);
            high = high.max(value);
            sum += value * 0.0;
        }
        if sum != 0.0 || !low.is_finite() || !high.is_finite() {
            return false;
        }
        (self.low, self.high) = (low, high);
        while high.max(-low) >= self.width * SIDE as f32 {
            self.widen();
        }
        let scale = 1.0 / self.width;
        for &value in values {
            let bin = (value * scale).floor() as i32 + SIDE as i32;
            self.counts[bin as usize] += 1;
        }
        true
    }

    /// Two bins become one.
    fn widen(&mut self) {
        let mut counts = vec![0; 2 * SIDE];
        for (bin, count) in self.counts.iter().enumerate() {
            counts[SIDE / 2 + bin / 2] += count;
        }
        self.counts = counts;
        self.width *= 2.0;
    }

    /// The range that a method chooses; it holds zero.
    pub(crate) fn range(&self, method: Method) -> (f32, f32) {
        match method {
            Method::MinMax => (self.low, self.high),
            Method::Percentile => self.percentile(),
            Method::SquaredError => self.least_error(),
        }
    }

    fn percentile(&self) -> (f32, f32) {
        let total: u64 = self.counts.iter().sum();
        let left_out = (total as f64 * LEFT_OUT) as u64;
        let reaches = |counts: &mut dyn Iterator<Item = &u64>| {
            let mut sum = 0;
            let is_below = |count: &&u64| {
                sum += **count;
                sum <= left_out
            };
            counts.take_while(is_below).count()
        };
        let below = reaches(&mut self.counts.iter()) as f32 - SIDE as f32;
        let above = SIDE as f32 - reaches(&mut self.counts.iter().rev()) as f32;
        let low = (below * self.width).clamp(self.low, 0.0);
        (low, (above * self.width).clamp(0.0, self.high))
    }

    /// First both ends move together, then each alone.
    fn least_error(&self) -> (f32, f32) {
        let share = |step: usize| step as f32 / STEPS as f32;
        let mut best = (self.squared_error(self.low, self.high), self.low, self.high);
        let consider = |low: f32, high: f32, best: &mut (f64, f32, f32)| {
            let error = self.squared_error(low, high);
            if error < best.0 {
                *best = (error, low, high);
            }
        };
        for step in 4..STEPS {
            consider(self.low * share(step), self.high * share(step), &mut best);
        }
        let (low, high) = (best.1, best.2);
        for step in 4..=STEPS {
            consider(self.low * share(step), high, &mut best);
        }
        let low = if best.2 == high { best.1 } else { low };
        for step in 4..=STEPS {
            consider(low, self.high * share(step), &mut best);
        }
        (best.1, best.2)
    }

    /// Mean squared error of the values, each at the centre of its bin, rounded to the range.
    pub(crate) fn squared_error(&self, low: f32, high: f32) -> f64 {
        let (low, high) = (f64::from(low), f64::from(high));
        let step = (high - low) / LEVELS;
        if step <= 0.0 {
            return f64::INFINITY;
        }
        let zero = (-low / step).round();
        let (mut sum, mut total) = (0.0, 0u64);
        for (bin, &count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let value = (bin as f64 - SIDE as f64 + 0.5) * f64::from(self.width);
            let rounded = ((value / step).round_ties_even() + zero).clamp(0.0, LEVELS) - zero;
            sum += (value - rounded * step).powi(2) * count as f64;
            total += count;
        }
        sum / total.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&[f32]]) -> Histogram {
        let mut histogram = Histogram::new();
        parts.iter().for_each(|part| assert!(histogram.add(part.iter())));
        histogram
    }

    #[test]
    fn counts_do_not_depend_on_the_order() {
        let (small, large) = ([0.001f32, -0.25, 0.6], [900.0f32, -3.0]);
        let (first, second) = (of(&[&small, &large]), of(&[&large, &small]));
        assert_eq!((first.width, &first.counts), (second.width, &second.counts));
        assert_eq!(first.range(Method::MinMax), (-3.0, 900.0));
        assert_eq!(first.counts.iter().sum::<u64>(), 5);
    }

    #[test]
    fn outliers_are_left_out_where_that_lowers_the_error() {
        let mut values: Vec<f32> = (0..100_000).map(|i| i as f32 / 100_000.0).collect();
        values.push(1.6);
        let histogram = of(&[&values]);
        let (low, high) = histogram.range(Method::Percentile);
        assert!(low == 0.0 && (0.99..1.01).contains(&high), "{low} {high}");
        // The least of x^2 / (12 * 255^2) + (1.6 - x)^2 / 100,000 is at 1.418.
        let (low, high) = histogram.range(Method::SquaredError);
        assert!(low == 0.0 && (high - 1.418).abs() <= 1.6 / STEPS as f32, "{low} {high}");
        let [whole, less] = [(0.0, 1.6), (low, high)].map(|(a, b)| histogram.squared_error(a, b));
        assert!(less < whole);
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!Histogram::new().add([1.0, odd].iter()), "{odd}");
        }
    }
}
