//! Packing order: the order in which weights are copied from a file to packed rows.

use super::conv::ConvGeometry;
use std::ops::Range;

/// Input channels whose weights are copied for one output channel before the next: few enough that what
/// 32 output channels read and write stays in cache.
const RUN: usize = 128;

/// Calls `each(output channel, input channel of its group, tap)` for the weights of some output channels:
/// some input channels at a time with all their taps, and of these one output channel after the other. A
/// file has weights by output channel, packed rows are by input channel, and both are in blocks so.
#[inline(always)]
pub(crate) fn in_packing_order(
    outputs: Range<usize>,
    geometry: &ConvGeometry,
    mut each: impl FnMut(usize, usize, usize),
) {
    let (depth, taps) = (geometry.depth(), geometry.taps());
    for first in (0..depth).step_by(RUN) {
        for output in outputs.clone() {
            for tap in 0..taps {
                for input in first..depth.min(first + RUN) {
                    each(output, input, tap);
                }
            }
        }
    }
}
