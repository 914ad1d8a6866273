//! Where each buffer lies: decided once, from when each is first written and last read.

use std::ops::Range;
use tract_onnx::prelude::TValue;

/// A buffer's length in float32 values, and the first and the last step that need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) length: usize,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

impl Interval {
    fn meets(&self, other: &Interval) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Values in a cache line; every buffer starts on one.
const LINE: usize = 16;

/// Gives each buffer a range such that no two that are needed at once overlap, and the length of
/// the whole. Largest first, each at the lowest place that is free all its life ("greedy by size",
/// Pisarchyk and Lee 2020, arXiv:2001.03288).
pub(crate) fn plan(buffers: &[Interval]) -> (Vec<Range<usize>>, usize) {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&number| std::cmp::Reverse(buffers[number].length));
    let mut ranges: Vec<Range<usize>> = vec![0..0; buffers.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut total = 0;
    for number in order {
        let length = buffers[number].length.next_multiple_of(LINE);
        let mut taken: Vec<Range<usize>> = placed
            .iter()
            .filter(|&&other| buffers[other].meets(&buffers[number]))
            .map(|&other| ranges[other].start..ranges[other].end.next_multiple_of(LINE))
            .collect();
        taken.sort_by_key(|range| range.start);
        let mut start = 0;
        for range in taken {
            if start + length <= range.start {
                break;
            }
            start = start.max(range.end);
        }
        ranges[number] = start..start + buffers[number].length;
        total = total.max(start + length);
        placed.push(number);
    }
    (ranges, total)
}

/// The memory of one run. Pages that no run has touched yet take none.
#[derive(Debug)]
pub struct Arena {
    pub(crate) values: Vec<f32>,
    /// Values that are not float32, which only operators left to tract make and read.
    pub(crate) sides: Vec<Option<TValue>>,
}

impl Arena {
    pub(crate) fn new(length: usize, sides: usize) -> Arena {
        // Zeroed by the system, page by page, when first touched.
        Arena { values: vec![0.0; length], sides: vec![None; sides] }
    }
}

/// Slices of one arena: those that are written, each by itself, and those that are read.
///
/// # Panics
/// If a written range overlaps another one: the plan would be wrong.
pub(crate) fn open<'a, const W: usize>(
    arena: &'a mut [f32],
    writes: [Range<usize>; W],
    reads: &[Range<usize>],
) -> ([&'a mut [f32]; W], Vec<&'a [f32]>) {
    let mut cuts: Vec<Range<usize>> = writes.iter().chain(reads).cloned().collect();
    cuts.sort_by_key(|range| (range.start, range.end));
    cuts.dedup();
    let mut pieces: Vec<(Range<usize>, Option<&'a mut [f32]>)> = Vec::with_capacity(cuts.len());
    let (mut rest, mut at) = (arena, 0);
    for cut in cuts {
        assert!(cut.start >= at, "buffers that are needed at once overlap");
        let (piece, after) = rest[cut.start - at..].split_at_mut(cut.len());
        (rest, at) = (after, cut.end);
        pieces.push((cut, Some(piece)));
    }
    let mut take = |range: &Range<usize>| {
        let piece = pieces.iter_mut().find(|(cut, _)| cut == range);
        piece.and_then(|(_, piece)| piece.take()).expect("a written buffer is used once")
    };
    let writes = writes.each_ref().map(&mut take);
    let shared: Vec<(Range<usize>, &'a [f32])> =
        pieces.into_iter().filter_map(|(cut, piece)| piece.map(|piece| (cut, &*piece))).collect();
    let find = |range: &Range<usize>| {
        let found = shared.iter().find(|(cut, _)| cut == range);
        found.expect("a buffer that is written is not read in the same step").1
    };
    (writes, reads.iter().map(find).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn buffers_that_live_at_once_do_not_overlap(
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
                    prop_assert!(apart || !buffers[b].meets(buffer));
                }
            }
        }
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one range is written")]
    fn opened_slices_are_the_ranges_asked_for() {
        let mut arena: Vec<f32> = (0..100u8).map(f32::from).collect();
        let ([written], reads) = open(&mut arena, [50..60], &[0..10, 70..75, 0..10]);
        assert_eq!((written.len(), written[0]), (10, 50.0));
        assert_eq!((reads[1].len(), reads[1][0], reads[2][9]), (5, 70.0, 9.0));
    }
}
