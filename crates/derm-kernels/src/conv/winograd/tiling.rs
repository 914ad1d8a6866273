//! How a Winograd convolution is divided into tiles, strips and chunks.

use crate::conv::packed::{MAX_WIDTH, PackedWeights, Panel};
use crate::geometry::conv::ConvGeometry;

/// Output pixels along a side of a tile.
pub(super) const SIDE: usize = 4;
/// Input pixels along a side of a tile.
pub(super) const REACH: usize = 6;
/// Points of a tile.
pub(super) const POINTS: usize = REACH * REACH;
/// Taps of the kernel.
const TAPS: usize = 9;
/// Values between the lists of two points, beyond what they hold: lists that begin a multiple of
/// 4 KiB apart would map to the same sets of the cache.
const PADDING: usize = 16;
/// Float32 values of pixels and sums that are in use together: half of a usual second-level cache.
const STRIP: usize = 128 * 1024;
/// Float32 values of weights that are in use with them.
const CHUNK: usize = 96 * 1024;
/// Transformed weights or pixels, whichever are kept, in float32 values, beyond the size of input and
/// output: an upper bound, so that no scratch outgrows the convolution it serves.
const KEPT: usize = 512 * 1024;

/// How a convolution is divided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tiling {
    /// Tiles from top to bottom, and from left to right.
    pub(super) tiles: [usize; 2],
    /// Tiles whose pixels are transformed together.
    pub(super) strip: usize,
    /// Input channels whose weights are transformed together.
    pub(super) chunk: usize,
    /// Whether the weights are transformed once for all strips.
    pub(super) keeps_weights: bool,
    /// Input channels.
    inputs: usize,
}

/// Float32 values of each part of the scratch.
pub(super) struct Lengths {
    pub(super) zeros: usize,
    /// Of weights that have to be transposed first.
    pub(super) taps: usize,
    pub(super) weights: usize,
    pub(super) pixels: usize,
    pub(super) sums: usize,
}

impl Tiling {
    /// None where the convolution is of another kind, or a direct one is as fast.
    pub(super) fn new(weights: &PackedWeights, geometry: &ConvGeometry) -> Option<Tiling> {
        let axes = [geometry.rows(), geometry.columns()];
        let is_3x3 = axes.iter().all(|axis| {
            (axis.kernel(), axis.stride(), axis.dilation(), axis.spread()) == (3, 1, 1, 1)
        });
        if geometry.groups() != 1 || !is_3x3 {
            return None;
        }
        let tiles = axes.map(|axis| axis.output().div_ceil(SIDE));
        let (count, depth, lanes) = (tiles[0] * tiles[1], geometry.inputs(), weights.isa().lanes());
        let vectors: usize = weights.panels().iter().map(|panel| panel.vectors).sum();
        if !pays(geometry, [count, depth, vectors], lanes) {
            return None;
        }
        let width = 2 * lanes;
        let keeps_weights = vectors * lanes <= count;
        let kept = POINTS * depth * count.min(vectors * lanes);
        if kept > KEPT + geometry.input_len() + geometry.output_len() {
            return None;
        }
        Some(if keeps_weights {
            let most = STRIP / (POINTS * (depth + width));
            let strip = (most / 12 * 12).max(12).min(count);
            Tiling { tiles, strip, chunk: depth, keeps_weights, inputs: depth }
        } else {
            let chunks = (POINTS * depth * width).div_ceil(CHUNK);
            let chunk = depth.div_ceil(chunks);
            Tiling { tiles, strip: count, chunk, keeps_weights, inputs: depth }
        })
    }

    /// Whether threads divide the panels and not the rows of tiles: where the weights are what takes
    /// time to transform.
    pub(super) fn is_split_by_panels(&self, weights: &PackedWeights) -> bool {
        !self.keeps_weights && weights.panels().len() > 1
    }

    pub(super) fn lengths(&self, weights: &PackedWeights) -> Lengths {
        let lanes = weights.isa().lanes();
        let of_panels = weights.panels().iter().map(|panel| self.weights_of(weights, panel));
        let taps = if weights.is_transposed() { TAPS * self.chunk * 2 * lanes } else { 0 };
        Lengths {
            zeros: self.inputs.max(MAX_WIDTH),
            taps,
            weights: if self.keeps_weights {
                of_panels.sum()
            } else {
                of_panels.max().unwrap_or(0)
            },
            pixels: POINTS * self.pixel_stride(),
            sums: POINTS * self.sum_stride(2 * lanes),
        }
    }

    /// Transformed values of a chunk of a panel's weights.
    pub(super) fn weights_of(&self, weights: &PackedWeights, panel: &Panel) -> usize {
        POINTS * self.weight_stride(panel.width(weights.isa()))
    }

    /// Distance of the points' lists of weights, `width` values an input channel.
    pub(super) fn weight_stride(&self, width: usize) -> usize {
        self.chunk * width + PADDING
    }

    /// Distance of the points' lists of pixels.
    pub(super) fn pixel_stride(&self) -> usize {
        self.strip * self.inputs + PADDING
    }

    /// Distance of the points' lists of sums, `width` values a tile.
    pub(super) fn sum_stride(&self, width: usize) -> usize {
        self.strip * width + PADDING
    }
}

/// Whether Winograd's method takes less than nine tenths of a direct convolution, by vector
/// operations. Products at points are less regular than a direct convolution, and a transformation
/// costs what its code has, loads and stores included.
fn pays(geometry: &ConvGeometry, [count, depth, vectors]: [usize; 3], lanes: usize) -> bool {
    let direct = 9 * geometry.rows().output() * geometry.columns().output() * depth * vectors;
    let products = POINTS * count * depth * vectors;
    let transforms = 130 * depth * vectors + count * (300 * depth.div_ceil(lanes) + 220 * vectors);
    10 * (products + products / 8 + transforms) <= 9 * direct
}
