//! Pace: how quickly inferences follow each other, measured while requests wait.

use std::time::Duration;
use tokio::time::Instant;

/// Gaps that the mean is taken of.
const GAPS: usize = 16;
/// Before so many were measured, nothing is expected: the first may be that in which the model was loaded.
const FEWEST: usize = 4;

/// The last gaps between two inferences that were granted, of which the second had been waited for.
#[derive(Debug)]
pub(super) struct Pace {
    gaps: [Duration; GAPS],
    /// Gaps that were ever measured.
    measured: usize,
    /// When the last inference was granted, if a request waited then.
    last: Option<Instant>,
}

impl Pace {
    pub(super) fn new() -> Pace {
        Pace { gaps: [Duration::ZERO; GAPS], measured: 0, last: None }
    }

    /// An inference is granted; whether further requests wait for one.
    pub(super) fn granted(&mut self, now: Instant, others_wait: bool) {
        if let Some(last) = self.last {
            self.gaps[self.measured % GAPS] = now - last;
            self.measured += 1;
        }
        self.last = others_wait.then_some(now);
    }

    /// How long a request will wait that has so many before it.
    pub(super) fn expected(&self, ahead: usize) -> Duration {
        if self.measured < FEWEST {
            return Duration::ZERO;
        }
        let known = &self.gaps[..self.measured.min(GAPS)];
        let sum: Duration = known.iter().sum();
        sum.mul_f64(ahead as f64 / known.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_that_of_the_last_gaps() {
        let (mut pace, mut now) = (Pace::new(), Instant::now());
        let mut after = |seconds: u64, others_wait| {
            now += Duration::from_secs(seconds);
            pace.granted(now, others_wait);
            pace.expected(10)
        };
        after(5, true);
        for _ in 1..FEWEST {
            assert_eq!(after(2, true), Duration::ZERO, "too few are known");
        }
        assert_eq!(after(2, true), Duration::from_secs(20));
        // A pause in which nobody waited says nothing.
        after(2, false);
        assert_eq!(after(1000, true), Duration::from_secs(20));
        for _ in 0..GAPS {
            after(1, true);
        }
        assert_eq!(after(1, true), Duration::from_secs(10));
    }
}
