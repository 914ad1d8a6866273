//! Direct convolution: every tile of output pixels runs over a block of a panel's weights that fits
//! the cache.
//!
//! No patch matrix is built: each pixel of a tile reads its input pixel where it lies (compare
//! Dukhan, *The Indirect Convolution Algorithm*, 2019, arXiv:1907.02129).

use super::call::Operands;
use super::epilogue::SplitEpilogue;
use super::microkernel::{PanelCall, run_panel};
use super::packed::{PackedWeights, Panel};
use crate::geometry::conv::ConvGeometry;
use crate::ring::Ring;
use std::ops::Range;

/// Weights of a panel that are widened at once: 128 KiB of scratch.
const BLOCK: usize = 32 * 1024;

/// What threads divide among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Split {
    Rows,
    /// Pixels of the only row.
    Pixels,
    Panels,
}

/// A direct convolution: what its units are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Direct {
    split: Split,
    /// Whether rows and columns may be taken as one axis: not where only some rows are in memory.
    is_flat: bool,
}

impl Direct {
    /// A convolution of which all input and output are in memory.
    pub(super) fn new(weights: &PackedWeights, geometry: &ConvGeometry) -> Direct {
        let pixels = geometry.rows().output() * geometry.columns().output();
        let geometry = geometry.flattened();
        // Threads share the panels, so that each widens only its own weights, where there are few
        // pixels for a weight, and panels enough to be shared evenly.
        let split = if weights.panels().len() >= 8 && pixels <= 1024 {
            Split::Panels
        } else if geometry.rows().output() > 1 {
            Split::Rows
        } else {
            Split::Pixels
        };
        Direct { split, is_flat: true }
    }

    /// A convolution of some rows at a time.
    pub(super) const BY_ROWS: Direct = Direct { split: Split::Rows, is_flat: false };

    /// The geometry that the microkernel works on.
    fn seen(self, geometry: &ConvGeometry) -> ConvGeometry {
        if self.is_flat { geometry.flattened() } else { *geometry }
    }

    /// Parts into which the work can be divided.
    pub(super) fn units(self, weights: &PackedWeights, geometry: &ConvGeometry) -> usize {
        let geometry = self.seen(geometry);
        match self.split {
            Split::Rows => geometry.rows().output(),
            Split::Pixels => geometry.columns().output(),
            Split::Panels => weights.panels().len(),
        }
    }

    /// Float32 values of scratch.
    pub(super) fn scratch_len(weights: &PackedWeights) -> usize {
        // A narrow panel's block has more rows, and since they are whole taps, may be the larger one.
        let widths = weights.panels().iter().map(|panel| panel.width(weights.isa()));
        let block = if weights.is_copied() {
            widths.map(|width| block_rows(weights, width) * width).max().unwrap_or(0)
        } else {
            0
        };
        // And a pixel of zeros for the padding.
        block + weights.depth()
    }

    /// Computes some units.
    ///
    /// # Safety
    /// Weights and operands must be those of the geometry, scratch as long as
    /// [`Direct::scratch_len`], and the output valid for writes to these units, which nobody else may
    /// touch.
    pub(super) unsafe fn run(
        self,
        weights: &PackedWeights,
        geometry: &ConvGeometry,
        operands: &Operands<'_>,
        scratch: &mut [f32],
        units: Range<usize>,
    ) {
        let geometry = &self.seen(geometry);
        let (mut rows, mut columns) = (0..geometry.rows().output(), 0..geometry.columns().output());
        let mut panels = weights.panels();
        match self.split {
            Split::Rows => rows = units,
            Split::Pixels => columns = units,
            Split::Panels => panels = &panels[units],
        }
        let (zeros, scratch) = scratch.split_at_mut(weights.depth());
        zeros.fill(0.0);
        for panel in panels {
            for_each_block(weights, panel, |first, end| {
                let block = weights.block(panel, first..end, scratch);
                let is_last = end == weights.taps() * weights.depth();
                let epilogue = if is_last { operands.epilogue } else { &[] };
                let input = operands.input;
                let call = PanelCall {
                    geometry,
                    input: Ring { values: input.values.as_ptr(), held_rows: input.held_rows },
                    output: operands.output,
                    zeros: zeros.as_ptr(),
                    weights: block.as_ptr(),
                    bias: &operands.bias[panel.channel..panel.channel + panel.channels],
                    panel: *panel,
                    depth: weights.depth(),
                    first,
                    end,
                    epilogue: SplitEpilogue::new(weights.isa(), epilogue),
                    rows: rows.clone(),
                    columns: columns.clone(),
                };
                // SAFETY: the operands are valid for the geometry, `zeros` and `block` were just made
                // as long as the call says, and the panel's channels of these rows and columns are
                // elements of the units.
                unsafe { run_panel(weights.isa(), &call) };
            });
        }
    }
}

/// Rows of a panel (each one input channel at one tap) in a block.
fn block_rows(weights: &PackedWeights, width: usize) -> usize {
    let (depth, most) = (weights.depth(), (BLOCK / width).max(1));
    let rows = if depth >= most { most } else { most / depth * depth };
    rows.min(weights.taps() * depth)
}

/// Calls `run` with the first and the end row of each block of a panel: whole taps, or some of the
/// channels of one.
fn for_each_block(weights: &PackedWeights, panel: &Panel, mut run: impl FnMut(usize, usize)) {
    let depth = weights.depth();
    let all = weights.taps() * depth;
    let step = block_rows(weights, panel.width(weights.isa()));
    let mut first = 0;
    while first < all {
        let mut end = (first + step).min(all);
        if depth > step {
            end = end.min((first / depth + 1) * depth);
        }
        run(first, end);
        first = end;
    }
}
