//! Weights of 8 bits, packed for one instruction set and geometry.

use super::isa::Int8Kind;
use crate::geometry::conv::ConvGeometry;
use crate::geometry::packing::in_packing_order;
use crate::simd::isa::Isa;
use std::sync::Arc;

/// Packed weights, shared by the plans that read them.
#[derive(Debug, Clone)]
pub struct PackedInt8 {
    pub(super) kind: Int8Kind,
    pub(super) form: Form,
    pub(super) bytes: Arc<[u8]>,
    /// The sum of each output channel's weights, by which the input's zero point is subtracted.
    pub(super) sums: Arc<[i32]>,
    /// `[taps, depth, outputs, groups]`.
    shape: [usize; 4],
}

/// How weights lie.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// Panels of output channels; see [`Panel`].
    Dense(Arc<[Panel]>),
    /// [`blocks`] of channels: for each column of the window and each four rows of it (the last
    /// ones filled up with 0) four vectors, in the order of two interleavings
    /// ([`depthwise_channel`]).
    Depthwise,
}

/// Some output channels of one group: for each tap, for each four of the inputs (the last ones
/// filled up with 0), for each vector of channels, four bytes a channel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panel {
    /// Its first output channel.
    pub(super) channel: usize,
    pub(super) channels: usize,
    pub(super) vectors: usize,
    pub(super) group: usize,
    /// Where its weights begin.
    pub(super) start: usize,
    /// Where its channels begin in arrays that are padded as panels are.
    pub(super) padded: usize,
}

impl PackedInt8 {
    /// Packs the weights: `value` finds that of an output channel, an input channel of its group, and
    /// a tap.
    ///
    /// # Panics
    /// If a sum of products could exceed 32 bits: see [`PackedInt8::fits`].
    pub fn new(
        isa: Isa,
        geometry: &ConvGeometry,
        value: impl Fn(usize, usize, usize) -> i8,
    ) -> PackedInt8 {
        assert!(PackedInt8::fits(geometry), "sums of more than 32 bits");
        let kind = Int8Kind::of(isa);
        let mut sums = vec![0; geometry.outputs()];
        // Each weight is packed once.
        let summed = |output: usize, input: usize, tap: usize| {
            let weight = value(output, input, tap);
            sums[output] += i32::from(weight);
            weight
        };
        let (form, bytes) = if geometry.is_depthwise() {
            (Form::Depthwise, pack_depthwise(kind, geometry, summed))
        } else {
            let panels = panels(kind, geometry);
            let bytes = pack_dense(kind, geometry, &panels, summed);
            (Form::Dense(panels.into()), bytes)
        };
        let shape = shape(geometry);
        PackedInt8 { kind, form, bytes: bytes.into(), sums: sums.into(), shape }
    }

    /// Whether no sum of products can exceed 32 bits, whatever the values.
    pub fn fits(geometry: &ConvGeometry) -> bool {
        // Twice: the input's zero point times the sum of the weights is subtracted.
        geometry.taps().saturating_mul(geometry.depth()) <= (i32::MAX / (2 * 255 * 128)) as usize
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        self.bytes.len() + size_of_val(&self.sums[..])
    }

    /// The same for copies that share the memory.
    pub fn identity(&self) -> usize {
        self.bytes.as_ptr().addr()
    }

    /// # Panics
    /// If the weights were packed for another geometry.
    pub(super) fn check(&self, geometry: &ConvGeometry) {
        assert_eq!(self.shape, shape(geometry), "weights of another geometry");
    }
}

fn shape(geometry: &ConvGeometry) -> [usize; 4] {
    [geometry.taps(), geometry.depth(), geometry.outputs(), geometry.groups()]
}

/// Whether the taps of a window are gathered side by side: where the inputs at a pixel are not whole
/// groups of four bytes.
pub(super) fn is_gathered(geometry: &ConvGeometry) -> bool {
    !geometry.depth().is_multiple_of(4)
}

/// Groups of four inputs in the weights of an output channel, all taps together.
pub(super) fn quads(geometry: &ConvGeometry) -> usize {
    // Where inputs are whole groups, so are all taps together.
    (geometry.taps() * geometry.depth()).div_ceil(4)
}

fn panels(kind: Int8Kind, geometry: &ConvGeometry) -> Vec<Panel> {
    let channels = geometry.outputs() / geometry.groups();
    let vectors = channels.div_ceil(kind.lanes());
    // As equal as possible: five vectors are three and two.
    let count = vectors.div_ceil(kind.max_vectors());
    let (mut start, mut padded) = (0, 0);
    let mut found = Vec::new();
    for group in 0..geometry.groups() {
        for panel in 0..count {
            let first = (vectors * panel).div_ceil(count);
            let end = (vectors * (panel + 1)).div_ceil(count);
            let channel = first * kind.lanes();
            found.push(Panel {
                channel: group * channels + channel,
                channels: (end * kind.lanes()).min(channels) - channel,
                vectors: end - first,
                group,
                start,
                padded,
            });
            let width = (end - first) * kind.lanes();
            start += 4 * width * quads(geometry);
            padded += width;
        }
    }
    found
}

fn pack_dense(
    kind: Int8Kind,
    geometry: &ConvGeometry,
    panels: &[Panel],
    mut value: impl FnMut(usize, usize, usize) -> i8,
) -> Vec<u8> {
    let width = |panel: &Panel| panel.vectors * kind.lanes();
    let length = |panel: &Panel| 4 * width(panel) * quads(geometry);
    let mut bytes = vec![0; panels.iter().map(length).sum()];
    for panel in panels {
        let width = width(panel);
        let channels = panel.channel..panel.channel + panel.channels;
        in_packing_order(channels, geometry, |output, input, tap| {
            let index = tap * geometry.depth() + input;
            let quad = index / 4 * width + output - panel.channel;
            bytes[panel.start + 4 * quad + index % 4] = value(output, input, tap) as u8;
        });
    }
    bytes
}

/// Rows of a depthwise window, in groups of four.
pub(super) fn row_quads(geometry: &ConvGeometry) -> usize {
    geometry.rows().kernel().div_ceil(4)
}

/// Some channels of a depthwise convolution, as many as a vector has bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    /// The first one.
    pub(super) channel: usize,
    /// 32-bit sums in its vectors.
    pub(super) lanes: usize,
}

/// The blocks of a depthwise convolution's channels; the last one is of half vectors where the channels fit these.
pub(super) fn blocks(kind: Int8Kind, channels: usize) -> impl Iterator<Item = Block> {
    (0..channels).step_by(4 * kind.lanes()).map(move |channel| {
        let is_half = channels - channel <= 4 * kind.half_lanes();
        let lanes = if is_half { kind.half_lanes() } else { kind.lanes() };
        Block { channel, lanes }
    })
}

/// The channel of a block whose sum is in `lane` of the vector at `vector` of four.
pub(super) fn depthwise_channel(vector: usize, lane: usize) -> usize {
    lane / 4 * 16 + vector * 4 + lane % 4
}

fn pack_depthwise(
    kind: Int8Kind,
    geometry: &ConvGeometry,
    mut value: impl FnMut(usize, usize, usize) -> i8,
) -> Vec<u8> {
    let (rows, columns) = (geometry.rows().kernel(), geometry.columns().kernel());
    let mut bytes = Vec::new();
    for block in blocks(kind, geometry.outputs()) {
        for column in 0..columns {
            for quad in 0..row_quads(geometry) {
                for vector in 0..4 {
                    for lane in 0..block.lanes {
                        let channel = block.channel + depthwise_channel(vector, lane);
                        for row in 4 * quad..4 * quad + 4 {
                            let is_weight = channel < geometry.outputs() && row < rows;
                            let weight =
                                is_weight.then(|| value(channel, 0, row * columns + column));
                            bytes.push(weight.unwrap_or(0) as u8);
                        }
                    }
                }
            }
        }
    }
    bytes
}
