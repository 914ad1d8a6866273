//! Packed weights of a dense convolution: panels of a few output channels.

use super::storage::{Form, Number, WeightStorage};
use super::widen::{WeightRows, widened};
use crate::geometry::conv::ConvGeometry;
use crate::simd::isa::Isa;
use crate::simd::vector::MAX_VECTOR;
use std::ops::Range;
use std::sync::Arc;

/// Output channels of a panel, at most: two vectors.
pub(crate) const MAX_WIDTH: usize = 2 * MAX_VECTOR;

/// Output channels that are computed together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panel {
    pub(crate) group: usize,
    /// First output channel and how many.
    pub(crate) channel: usize,
    pub(crate) channels: usize,
    /// Vectors a row.
    pub(crate) vectors: usize,
    /// Index of the first weight. A panel is `[tap][input channel][vectors * lanes]`.
    pub(crate) start: usize,
}

impl Panel {
    /// Weights of a row; those beyond the panel's channels are zeros.
    pub(crate) fn width(&self, isa: Isa) -> usize {
        self.vectors * isa.lanes()
    }
}

/// The panels of a convolution, and how many weights they hold.
fn panels(isa: Isa, geometry: &ConvGeometry) -> (Vec<Panel>, usize) {
    let (depth, lanes) = (geometry.depth(), isa.lanes());
    let group_outputs = geometry.outputs() / geometry.groups();
    let mut panels = Vec::new();
    let mut start = 0;
    for group in 0..geometry.groups() {
        let mut done = 0;
        while done < group_outputs {
            let vectors = if group_outputs - done <= lanes { 1 } else { 2 };
            let channels = (vectors * lanes).min(group_outputs - done);
            let channel = group * group_outputs + done;
            panels.push(Panel { group, channel, channels, vectors, start });
            start += geometry.taps() * depth * vectors * lanes;
            done += channels;
        }
    }
    (panels, start)
}

/// Weights as they were packed, for the forward convolution.
#[derive(Debug)]
struct Forward {
    isa: Isa,
    weights: WeightStorage,
    panels: Vec<Panel>,
    taps: usize,
    depth: usize,
}

/// Weights of a dense convolution or of its backward-data convolution, packed for one instruction
/// set. Clones, and the backward-data convolution, share them.
#[derive(Debug, Clone)]
pub(crate) struct PackedWeights {
    forward: Arc<Forward>,
    /// Whether this is the backward-data convolution: its panels do not exist in memory, each block
    /// of them is transposed from the forward ones when it is used.
    is_transposed: bool,
    panels: Vec<Panel>,
    /// Input channels that an output channel sees.
    depth: usize,
    outputs: usize,
    groups: usize,
}

impl PackedWeights {
    /// Packs `value(output, input, tap)`; see [`WeightStorage::fill`].
    pub(super) fn new<N: Number>(
        isa: Isa,
        form: Form<'_>,
        geometry: &ConvGeometry,
        value: impl Fn(usize, usize, usize) -> N + Copy,
    ) -> PackedWeights {
        let (taps, depth) = (geometry.taps(), geometry.depth());
        let (panels, length) = panels(isa, geometry);
        let columns = panels.iter().flat_map(|panel| {
            let lanes = 0..panel.width(isa);
            lanes.map(|lane| (lane < panel.channels).then_some(panel.channel + lane))
        });
        let mut weights = WeightStorage::new(form, length, columns);
        for panel in &panels {
            let channels = panel.channel..panel.channel + panel.channels;
            let &Panel { start, channel, .. } = panel;
            let width = panel.width(isa);
            let index =
                move |output, input, tap| start + (tap * depth + input) * width + output - channel;
            weights.fill(channels, geometry, index, value);
        }
        let forward = Forward { isa, weights, panels: panels.clone(), taps, depth };
        PackedWeights {
            forward: Arc::new(forward),
            is_transposed: false,
            panels,
            depth,
            outputs: geometry.outputs(),
            groups: geometry.groups(),
        }
    }

    /// The weights of the backward-data convolution; `geometry` is that of the forward one. None for
    /// a convolution that has none, or is one itself.
    ///
    /// # Panics
    /// If `geometry` is not the one that was packed for.
    pub(crate) fn transposed(&self, geometry: &ConvGeometry) -> Option<PackedWeights> {
        self.check(geometry);
        let transposed = geometry.transposed().filter(|_| !self.is_transposed)?;
        let (panels, _) = panels(self.isa(), &transposed);
        Some(PackedWeights {
            forward: Arc::clone(&self.forward),
            is_transposed: true,
            panels,
            depth: transposed.depth(),
            outputs: transposed.outputs(),
            groups: transposed.groups(),
        })
    }

    /// Kernels rely on it: a panel's group says which input channels it reads.
    ///
    /// # Panics
    /// If the geometry is not the one that was packed for.
    pub(crate) fn check(&self, geometry: &ConvGeometry) {
        assert_eq!(
            (self.forward.taps, self.depth, self.outputs, self.groups),
            (geometry.taps(), geometry.depth(), geometry.outputs(), geometry.groups()),
            "the geometry is not the one that the weights were packed for"
        );
    }

    pub(crate) fn isa(&self) -> Isa {
        self.forward.isa
    }

    pub(crate) fn panels(&self) -> &[Panel] {
        &self.panels
    }

    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    pub(crate) fn taps(&self) -> usize {
        self.forward.taps
    }

    pub(crate) fn is_transposed(&self) -> bool {
        self.is_transposed
    }

    /// Bytes of weights in memory, shared by all clones.
    pub(crate) fn bytes(&self) -> usize {
        self.forward.weights.bytes()
    }

    /// Equal for all that share their weights, different for others.
    pub(crate) fn identity(&self) -> usize {
        Arc::as_ptr(&self.forward).addr()
    }

    /// The stored weights, in the layout of the forward convolution's panels.
    pub(super) fn stored(&self) -> &WeightStorage {
        &self.forward.weights
    }

    /// The column of the stored weights at which a panel of the forward convolution begins: all panels
    /// have as many rows.
    pub(super) fn column(&self, panel: &Panel) -> usize {
        panel.start / (self.forward.taps * self.forward.depth)
    }

    /// Whether [`PackedWeights::block`] needs scratch.
    pub(crate) fn is_copied(&self) -> bool {
        self.is_transposed || !matches!(self.forward.weights, WeightStorage::F32(_))
    }

    /// Rows `rows` of a panel, each one input channel at one tap, as float32: as they are stored
    /// where that is float32, else converted into `scratch`.
    pub(crate) fn block<'a>(
        &'a self,
        panel: &Panel,
        rows: Range<usize>,
        scratch: &'a mut [f32],
    ) -> &'a [f32] {
        let width = panel.width(self.isa());
        if self.is_transposed {
            let block = &mut scratch[..rows.len() * width];
            self.transpose(panel, rows, block);
            return block;
        }
        let wanted = WeightRows {
            start: panel.start + rows.start * width,
            rows: rows.len(),
            width,
            column: self.column(panel),
        };
        widened(self.isa(), &self.forward.weights, wanted, scratch)
    }

    /// Writes rows `rows` of a panel of the backward-data convolution to `block`: row
    /// `tap * depth + output channel`, of as many input channels (as the forward convolution counts
    /// them) as the panel is wide.
    pub(crate) fn transpose(&self, panel: &Panel, rows: Range<usize>, block: &mut [f32]) {
        let Forward { isa, weights, panels, taps, depth: forward_depth } = &*self.forward;
        let (width, depth) = (panel.width(*isa), self.depth);
        let first_input = panel.channel - panel.group * forward_depth;
        let mut buffer = [0.0; MAX_WIDTH * MAX_WIDTH];
        for forward in panels.iter().filter(|forward| forward.group == panel.group) {
            let forward_width = forward.width(*isa);
            let first_output = forward.channel - panel.group * depth;
            for tap in rows.start / depth..rows.end.div_ceil(depth) {
                let row = tap * depth + first_output;
                let wanted = row.max(rows.start)..(row + forward.channels).min(rows.end);
                if wanted.is_empty() {
                    continue;
                }
                // The kernel rotated by 180 degrees: the taps in the opposite order.
                let forward_row = (taps - 1 - tap) * forward_depth + first_input;
                let square = WeightRows {
                    start: forward.start + forward_row * forward_width,
                    rows: panel.channels,
                    width: forward_width,
                    column: self.column(forward),
                };
                let square = widened(*isa, weights, square, &mut buffer);
                for wanted_row in wanted {
                    let lane = wanted_row - row;
                    let to = &mut block[(wanted_row - rows.start) * width..][..panel.channels];
                    let from = square[lane..].iter().step_by(forward_width);
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                }
            }
        }
    }
}
