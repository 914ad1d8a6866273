//! Memory planning: from the interval in which each buffer is live to its offset in one arena.

use std::ops::Range;

/// A buffer's length in float32 values, and the first and the last step at which it is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) length: usize,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

impl Interval {
    fn overlaps(&self, other: &Interval) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Float32 values in a cache line; every buffer starts on one.
pub(crate) const CACHE_LINE: usize = 16;

/// Gives each buffer a range such that no two that are live at once overlap, and the length of the
/// whole. Largest first, each at the lowest offset that is free during its whole life ("greedy by
/// size", Pisarchyk and Lee 2020, arXiv:2001.03288).
pub(crate) fn plan(buffers: &[Interval]) -> (Vec<Range<usize>>, usize) {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(buffers[index].length));
    let mut ranges: Vec<Range<usize>> = vec![0..0; buffers.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut total = 0;
    for index in order {
        if buffers[index].length == 0 {
            // The rest is empty too, and lies nowhere.
            break;
        }
        let length = buffers[index].length.next_multiple_of(CACHE_LINE);
        let mut taken: Vec<Range<usize>> = placed
            .iter()
            .filter(|&&other| buffers[other].overlaps(&buffers[index]))
            .map(|&other| ranges[other].start..ranges[other].end.next_multiple_of(CACHE_LINE))
            .collect();
        taken.sort_by_key(|range| range.start);
        let mut start = 0;
        for range in taken {
            if start + length <= range.start {
                break;
            }
            start = start.max(range.end);
        }
        ranges[index] = start..start + buffers[index].length;
        total = total.max(start + length);
        placed.push(index);
    }
    (ranges, total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn buffers_that_are_live_at_once_do_not_overlap(
            list in prop::collection::vec((1usize..300, 0usize..20, 0usize..8), 1..40),
        ) {
            let buffers: Vec<Interval> = list
                .into_iter()
                .map(|(length, first, life)| Interval { length, first, last: first + life })
                .collect();
            let (ranges, total) = plan(&buffers);
            for (a, buffer) in buffers.iter().enumerate() {
                prop_assert_eq!(ranges[a].len(), buffer.length);
                prop_assert!(ranges[a].end <= total);
                for b in 0..a {
                    let apart = ranges[a].end <= ranges[b].start || ranges[b].end <= ranges[a].start;
                    prop_assert!(apart || !buffers[b].overlaps(buffer));
                }
            }
        }
    }
}
