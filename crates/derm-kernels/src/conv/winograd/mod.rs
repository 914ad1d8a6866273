//! Winograd convolution: kernels of 3x3 taps and stride 1 with a quarter of the multiplications, by
//! F(4x4, 3x3) as in Lavin and Gray 2016, arXiv:1509.09308, section 4.3.
//!
//! Tiles of 6x6 input pixels become 36 *points*; at each point, pixels times weights is a matrix
//! product over channels; 36 sums become 4x4 output pixels. The weights' points are made from the
//! packed weights while the convolution runs and are never kept: of weights and pixels, the
//! smaller is transformed once and the other one piece by piece.

#![expect(clippy::needless_range_loop, reason = "squares of vectors are walked along and across")]

mod pixels;
mod sums;
mod tiling;
mod weights;

use self::pixels::{Pixels, transform_pixels};
use self::sums::{Sums, transform_sums};
use self::tiling::{Lengths, POINTS, Tiling};
use self::weights::transform_weights;
use super::call::Operands;
use super::epilogue::SplitEpilogue;
use super::microkernel::{PanelCall, run_panel};
use super::packed::{PackedWeights, Panel};
use crate::geometry::conv::ConvGeometry;
use crate::ring::Ring;
use std::ops::Range;

/// A convolution by Winograd's method: how it is divided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Winograd(Tiling);

impl Winograd {
    /// None where the convolution is of another kind, or a direct one is as fast.
    pub(super) fn new(weights: &PackedWeights, geometry: &ConvGeometry) -> Option<Winograd> {
        Tiling::new(weights, geometry).map(Winograd)
    }

    /// Parts into which the work can be divided: rows of tiles, or panels.
    pub(super) fn units(&self, weights: &PackedWeights) -> usize {
        if self.0.is_split_by_panels(weights) { weights.panels().len() } else { self.0.tiles[0] }
    }

    /// Float32 values of scratch.
    pub(super) fn scratch_len(&self, weights: &PackedWeights) -> usize {
        let Lengths { zeros, taps, weights, pixels, sums } = self.0.lengths(weights);
        zeros + taps + weights + pixels + sums
    }

    /// Computes some units.
    ///
    /// # Safety
    /// Weights and operands must be those of the geometry, the operands whole, and the output valid
    /// for writes to these units, which nobody else may touch.
    ///
    /// # Panics
    /// If the scratch is shorter than [`Winograd::scratch_len`].
    pub(super) unsafe fn run(
        &self,
        weights: &PackedWeights,
        geometry: &ConvGeometry,
        operands: &Operands<'_>,
        scratch: &mut [f32],
        units: Range<usize>,
    ) {
        let Winograd(tiling) = self;
        let mut scratch = Scratch::split(&tiling.lengths(weights), scratch);
        let isa = weights.isa();
        let [down, across] = tiling.tiles;
        let (mut panels, mut rows) = (weights.panels(), 0..down);
        if tiling.is_split_by_panels(weights) {
            panels = &panels[units];
        } else {
            rows = units;
        }
        let all = rows.start * across..rows.end * across;
        let epilogue = SplitEpilogue::new(isa, operands.epilogue);
        for first in all.clone().step_by(tiling.strip) {
            let strip = first..(first + tiling.strip).min(all.end);
            let pixels = Pixels {
                tiling,
                geometry,
                input: operands.input.values.as_ptr(),
                zeros: scratch.zeros.as_ptr(),
                strip: strip.clone(),
            };
            // SAFETY: the input has the geometry's length; zeros and pixels have the tiling's.
            unsafe { transform_pixels(isa, &pixels, scratch.pixels.as_mut_ptr()) };
            let mut start = 0;
            for panel in panels {
                let length = tiling.weights_of(weights, panel);
                let kept = start..start + length;
                if tiling.keeps_weights {
                    start += length;
                }
                let is_new = !tiling.keeps_weights || first == all.start;
                self.multiply(weights, panel, strip.len(), &mut scratch, (kept, is_new));
                let sums = Sums {
                    tiling,
                    geometry,
                    panel,
                    bias: &operands.bias[panel.channel..panel.channel + panel.channels],
                    sums: scratch.sums.as_ptr(),
                    strip: strip.clone(),
                    epilogue,
                };
                // SAFETY: the scratch has the tiling's lengths; the panel's channels of the tiles of
                // the strip are elements of the units.
                unsafe { transform_sums(isa, &sums, operands.output.values) };
            }
        }
    }

    /// The sums at every point of `tiles` tiles for a panel. The panel's transformed weights are at
    /// `kept` of the scratch, or are to be put there.
    fn multiply(
        &self,
        weights: &PackedWeights,
        panel: &Panel,
        tiles: usize,
        scratch: &mut Scratch<'_>,
        (kept, is_new): (Range<usize>, bool),
    ) {
        let (Winograd(tiling), isa, inputs) = (self, weights.isa(), weights.depth());
        let width = panel.width(isa);
        let stride = tiling.weight_stride(width);
        let product = ConvGeometry::product(tiles, inputs, width)
            .expect("a product at one point is smaller than the convolution");
        let points = &mut scratch.weights[kept];
        for start in (0..inputs).step_by(tiling.chunk) {
            let chunk = start..(start + tiling.chunk).min(inputs);
            if is_new {
                transform_weights(weights, panel, chunk.clone(), scratch.taps, (points, stride));
            }
            for point in 0..POINTS {
                let pixels = &scratch.pixels[point * tiling.pixel_stride()..][..tiles * inputs];
                let weights = &points[point * stride..][..chunk.len() * width];
                let sums = &mut scratch.sums[point * tiling.sum_stride(width)..][..tiles * width];
                let call = PanelCall {
                    geometry: &product,
                    input: Ring { values: pixels.as_ptr(), held_rows: 1 },
                    output: Ring { values: sums.as_mut_ptr(), held_rows: 1 },
                    zeros: scratch.zeros.as_ptr(),
                    weights: weights.as_ptr(),
                    bias: &scratch.zeros[..width],
                    panel: Panel { group: 0, channel: 0, channels: width, ..*panel },
                    depth: inputs,
                    first: chunk.start,
                    end: chunk.end,
                    epilogue: SplitEpilogue::new(isa, &[]),
                    rows: 0..1,
                    columns: 0..tiles,
                };
                // SAFETY: the slices have the lengths of the product, and there is no padding.
                unsafe { run_panel(isa, &call) };
            }
        }
    }
}

/// The scratch, in its parts.
struct Scratch<'a> {
    zeros: &'a [f32],
    taps: &'a mut [f32],
    weights: &'a mut [f32],
    pixels: &'a mut [f32],
    sums: &'a mut [f32],
}

impl<'a> Scratch<'a> {
    fn split(lengths: &Lengths, scratch: &'a mut [f32]) -> Scratch<'a> {
        let (zeros, scratch) = scratch.split_at_mut(lengths.zeros);
        let (taps, scratch) = scratch.split_at_mut(lengths.taps);
        let (weights, scratch) = scratch.split_at_mut(lengths.weights);
        let (pixels, scratch) = scratch.split_at_mut(lengths.pixels);
        zeros.fill(0.0);
        Scratch { zeros, taps, weights, pixels, sums: &mut scratch[..lengths.sums] }
    }
}
