//! Convolution and matrix product: one kernel, since a product is a convolution over one row.
//!
//! Values are channels-last, weights are packed in panels of a few output channels. A panel is
//! widened into a cache-sized scratch block, then every tile of output pixels runs over it with
//! its sums in registers. No patch matrix is built: each row of a tile reads its input pixel where
//! it lies (compare Dukhan, *The Indirect Convolution Algorithm*, 2019, arXiv:1907.02129).

use crate::after::{After, Finish};
use crate::isa::Isa;
use crate::tile::{Call, run_panel};
use crate::widen::widened;
use crate::winograd::{Source, Taps, Winograd, transform_weights};
use crate::{ConvShape, Precision, Ring, Weights};
use std::ops::Range;
use std::sync::Arc;

/// Weights of a panel that are widened at once: 128 KiB of scratch.
const BLOCK: usize = 32 * 1024;

/// Output channels of a panel, at most.
pub(crate) const MOST_LANES: usize = 32;

/// A convolution's weights, packed for one instruction set. Clones, and the convolution that goes
/// the other way ([`PackedConv::turned`]), share them.
#[derive(Debug, Clone)]
pub struct PackedConv {
    packing: Arc<Packing>,
    /// Whether the weights lie as the panels below want them, or as the forward ones.
    is_turned: bool,
    bias: Vec<f32>,
    panels: Vec<Panel>,
    depth: usize,
}

/// Weights in panels, as the convolution forwards reads them.
#[derive(Debug)]
struct Packing {
    isa: Isa,
    weights: Weights,
    panels: Vec<Panel>,
    taps: usize,
    depth: usize,
}

/// Output channels that are computed together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panel {
    pub(crate) group: usize,
    /// First output channel and how many.
    pub(crate) channel: usize,
    pub(crate) channels: usize,
    /// Vectors a row.
    pub(crate) vectors: usize,
    /// First weight; they lie as [tap][input channel][vectors * lanes].
    pub(crate) start: usize,
}

impl Panel {
    /// Values of a row; those beyond the panel's channels are zeros.
    pub(crate) fn width(&self, isa: Isa) -> usize {
        self.vectors * isa.lanes()
    }
}

/// The panels of a convolution, and how many weights they hold.
fn panels(isa: Isa, shape: &ConvShape) -> (Vec<Panel>, usize) {
    let (groups, lanes, taps) = (shape.groups, isa.lanes(), shape.taps());
    assert!(shape.inputs.is_multiple_of(groups) && shape.outputs.is_multiple_of(groups));
    let (depth, group_outputs) = (shape.inputs / groups, shape.outputs / groups);
    let mut panels = Vec::new();
    let mut start = 0;
    for group in 0..groups {
        let mut done = 0;
        while done < group_outputs {
            let vectors = if group_outputs - done <= lanes { 1 } else { 2 };
            let channels = (vectors * lanes).min(group_outputs - done);
            let channel = group * group_outputs + done;
            panels.push(Panel { group, channel, channels, vectors, start });
            start += taps * depth * vectors * lanes;
            done += channels;
        }
    }
    (panels, start)
}

impl PackedConv {
    /// Packs weights. `value(output, input, tap)` gives the weight from input channel `input` (of
    /// its group) at kernel place `tap` (row by row) to output channel `output`; `bias` has a
    /// value for each output channel, or none.
    ///
    /// # Panics
    /// If the groups do not divide the channels.
    pub fn new(
        isa: Isa,
        precision: Precision,
        shape: &ConvShape,
        bias: Option<&[f32]>,
        value: impl Fn(usize, usize, usize) -> f32,
    ) -> PackedConv {
        let depth = shape.inputs / shape.groups;
        let (panels, length) = panels(isa, shape);
        let taps = shape.taps();
        let mut weights = Weights::with_capacity(precision, length);
        for panel in &panels {
            for (tap, input) in (0..taps).flat_map(|tap| (0..depth).map(move |i| (tap, i))) {
                let channels = panel.channel..panel.channel + panel.channels;
                weights.extend(channels.map(|output| value(output, input, tap)));
                weights.extend((panel.channels..panel.width(isa)).map(|_| 0.0));
            }
        }
        let packing = Arc::new(Packing { isa, weights, panels: panels.clone(), taps, depth });
        PackedConv { packing, is_turned: false, bias: vec![0.0; shape.outputs], panels, depth }
            .with_bias(bias)
    }

    /// The same weights with another bias, a value for each output channel, or none.
    ///
    /// # Panics
    /// If there are not as many.
    pub fn with_bias(mut self, bias: Option<&[f32]>) -> PackedConv {
        self.bias.fill(0.0);
        if let Some(bias) = bias {
            self.add_bias(bias);
        }
        self
    }

    /// The convolution of [`ConvShape::turned`], without bias: the input's gradient of the
    /// output's. It turns the weights block by block while it runs and keeps no copy.
    ///
    /// # Panics
    /// If `shape` is not the one that was packed for, or turned already.
    pub fn turned(&self, shape: &ConvShape) -> Option<PackedConv> {
        assert!(!self.is_turned);
        assert_eq!((self.bias.len(), self.packing.taps), (shape.outputs, shape.taps()));
        let turned = shape.turned()?;
        let (panels, _) = panels(self.packing.isa, &turned);
        Some(PackedConv {
            packing: Arc::clone(&self.packing),
            is_turned: true,
            bias: vec![0.0; turned.outputs],
            panels,
            depth: turned.inputs / turned.groups,
        })
    }

    /// Adds to the bias; a value for each output channel.
    ///
    /// # Panics
    /// If there are not as many.
    pub fn add_bias(&mut self, more: &[f32]) {
        assert_eq!(self.bias.len(), more.len());
        self.bias.iter_mut().zip(more).for_each(|(bias, more)| *bias += more);
    }

    /// Bytes of weights that stay in memory.
    pub fn bytes(&self) -> usize {
        self.packing.weights.bytes()
    }

    /// The same for all that share their weights, different for others.
    pub fn identity(&self) -> usize {
        Arc::as_ptr(&self.packing).addr()
    }

    /// Float32 values of scratch that [`PackedConv::run`] wants.
    pub fn scratch(&self, shape: &ConvShape) -> usize {
        if let Some(winograd) = Winograd::new(self, shape) {
            return winograd.scratch(self, shape);
        }
        self.scratch_of_rows()
    }

    pub(crate) fn isa(&self) -> Isa {
        self.packing.isa
    }

    pub(crate) fn panels(&self) -> &[Panel] {
        &self.panels
    }

    /// Whether it goes the other way than it was packed for, weights turned while it runs.
    pub fn is_turned(&self) -> bool {
        self.is_turned
    }

    /// A value for each channel of the panel.
    pub(crate) fn bias_of(&self, panel: &Panel) -> &[f32] {
        &self.bias[panel.channel..panel.channel + panel.channels]
    }

    /// The points of the weights from input channels `chunk` to a panel, `apart` values from one
    /// point to the next. Turned weights go to `taps` first.
    ///
    /// # Safety
    /// It must have 3x3 taps; `points`, and `taps` if it is turned, must have room.
    pub(crate) unsafe fn winograd_points(
        &self,
        panel: &Panel,
        chunk: Range<usize>,
        taps: &mut [f32],
        points: &mut [f32],
        apart: usize,
    ) {
        let Packing { isa, weights, .. } = &*self.packing;
        let width = panel.width(*isa);
        let (count, vectors) = (chunk.len(), panel.vectors);
        let first = panel.start + chunk.start * width;
        let (from, tap) = if self.is_turned {
            for (tap, to) in
                taps.chunks_exact_mut(count * width).take(self.packing.taps).enumerate()
            {
                let rows = tap * self.depth + chunk.start..tap * self.depth + chunk.end;
                self.packing.turn(panel, self.depth, rows, to);
            }
            (Source::F32(taps.as_ptr()), count * width)
        } else {
            let from = match weights {
                Weights::F16(list) => Source::F16(list[first..].as_ptr()),
                Weights::F32(list) => Source::F32(list[first..].as_ptr()),
            };
            (from, self.depth * width)
        };
        let taps = Taps { from, tap, count, vectors, apart };
        // SAFETY: the caller's contract.
        unsafe { transform_weights(*isa, &taps, points.as_mut_ptr()) };
    }

    /// Rows of a panel (each one input channel at one tap) in a block.
    fn block_rows(&self, width: usize) -> usize {
        let most = (BLOCK / width).max(1);
        if self.depth >= most { most.min(self.depth) } else { most / self.depth * self.depth }
            .min(self.packing.taps * self.depth)
    }

    /// Rows `first..end` of a panel as float32.
    fn block<'a>(
        &'a self,
        panel: &Panel,
        first: usize,
        end: usize,
        scratch: &'a mut [f32],
    ) -> &'a [f32] {
        let width = panel.width(self.packing.isa);
        if self.is_turned {
            let block = &mut scratch[..(end - first) * width];
            self.packing.turn(panel, self.depth, first..end, block);
            return block;
        }
        let range = panel.start + first * width..panel.start + end * width;
        widened(self.packing.isa, &self.packing.weights, range, scratch)
    }

    /// Convolves.
    ///
    /// # Panics
    /// If a slice has not the length that `shape` and [`PackedConv::scratch`] ask for, or `shape`
    /// is not the one that was packed for.
    pub fn run(
        &self,
        shape: &ConvShape,
        input: &[f32],
        output: &mut [f32],
        after: &[After<'_>],
        scratch: &mut [f32],
    ) {
        assert_eq!(output.len(), shape.output_len());
        let units = self.units(shape);
        // SAFETY: the output is ours alone, and all of it.
        unsafe { self.run_part(shape, input, output.as_mut_ptr(), after, scratch, 0..units) }
    }

    /// Into how many parts the work can be cut: rows of the output (or of tiles of it), places where
    /// there is one row, or panels of output channels.
    pub fn units(&self, shape: &ConvShape) -> usize {
        if let Some(winograd) = Winograd::new(self, shape) {
            return winograd.units(self);
        }
        if self.is_cut_by_panels(shape) {
            return self.panels.len();
        }
        let shape = shape.flattened();
        if shape.rows.output > 1 { shape.rows.output } else { shape.columns.output }
    }

    /// Whether it is done by Winograd's method, weights transformed while it runs.
    pub fn is_winograd(&self, shape: &ConvShape) -> bool {
        Winograd::new(self, shape).is_some()
    }

    /// Whether threads share the panels, so that each widens its own weights only, and not the rows:
    /// where there are few places for a weight, and panels enough to be shared evenly.
    fn is_cut_by_panels(&self, shape: &ConvShape) -> bool {
        self.panels.len() >= 8 && shape.rows.output * shape.columns.output <= 1024
    }

    /// A part of [`PackedConv::run`].
    ///
    /// # Safety
    /// `output` must have the length of the shape, and nobody else may touch the units `part` of
    /// it meanwhile.
    ///
    /// # Panics
    /// As [`PackedConv::run`].
    pub unsafe fn run_part(
        &self,
        shape: &ConvShape,
        input: &[f32],
        output: *mut f32,
        after: &[After<'_>],
        scratch: &mut [f32],
        part: Range<usize>,
    ) {
        assert_eq!(input.len(), shape.input_len());
        self.check(shape);
        assert!(after.iter().all(|after| after.fits(Some(shape.output_len()))));
        assert!(scratch.len() >= self.scratch(shape));
        assert!(part.end <= self.units(shape));
        if let Some(winograd) = Winograd::new(self, shape) {
            // SAFETY: lengths were just checked; the rows are the caller's.
            unsafe { winograd.run(self, shape, input, output, after, scratch, part) };
            return;
        }
        let is_cut_by_panels = self.is_cut_by_panels(shape);
        let shape = shape.flattened();
        let (mut rows, mut columns) = (0..shape.rows.output, 0..shape.columns.output);
        let mut panels = &self.panels[..];
        if is_cut_by_panels {
            panels = &panels[part];
        } else if shape.rows.output > 1 {
            rows = part;
        } else {
            columns = part;
        }
        let input = Ring { values: input, kept: shape.rows.input };
        let output = Ring { values: output, kept: shape.rows.output };
        // SAFETY: lengths were just checked; the units are the caller's.
        unsafe { self.direct(&shape, input, output, after, scratch, panels, rows, columns) };
    }

    /// Float32 values of scratch that [`PackedConv::run_rows`] wants.
    pub fn scratch_of_rows(&self) -> usize {
        // A narrow panel's block has more rows, and since they are whole taps, may be the larger one.
        let widths = self.panels.iter().map(|panel| panel.width(self.packing.isa));
        let block = match self.packing.weights {
            Weights::F32(_) if !self.is_turned => 0,
            _ => widths.map(|width| self.block_rows(width) * width).max().unwrap_or(0),
        };
        // And a pixel of zeros for the padding.
        block + self.depth
    }

    /// Convolves some rows of the output, where only some rows of input and output are in memory.
    ///
    /// # Safety
    /// Of the input, the rows must be there that [`crate::Axis::needed`] names; the output must have
    /// room for those it keeps, and nobody else may touch them meanwhile.
    ///
    /// # Panics
    /// If a slice has not the length that `shape` and [`PackedConv::scratch_of_rows`] ask for,
    /// something is to be added to an output that is not whole, or `shape` is not the one that was
    /// packed for.
    pub unsafe fn run_rows(
        &self,
        shape: &ConvShape,
        input: Ring<&[f32]>,
        output: Ring<*mut f32>,
        after: &[After<'_>],
        scratch: &mut [f32],
        rows: Range<usize>,
    ) {
        shape.check_rings(&input, &output, after, &rows);
        self.check(shape);
        assert!(scratch.len() >= self.scratch_of_rows());
        let (panels, columns) = (&self.panels[..], 0..shape.columns.output);
        // SAFETY: lengths were just checked; the rows are the caller's.
        unsafe { self.direct(shape, input, output, after, scratch, panels, rows, columns) };
    }

    /// # Panics
    /// If `shape` is not the one that was packed for.
    fn check(&self, shape: &ConvShape) {
        assert_eq!(self.bias.len(), shape.outputs);
        assert_eq!((self.packing.taps, self.depth), (shape.taps(), shape.inputs / shape.groups));
    }

    /// # Safety
    /// Lengths must be as `shape` and [`PackedConv::scratch_of_rows`] ask for, the rows that are
    /// needed must be there, and nobody else may touch what is written.
    #[expect(clippy::too_many_arguments, reason = "what is cut into parts comes in parts")]
    unsafe fn direct(
        &self,
        shape: &ConvShape,
        input: Ring<&[f32]>,
        output: Ring<*mut f32>,
        after: &[After<'_>],
        scratch: &mut [f32],
        panels: &[Panel],
        rows: Range<usize>,
        columns: Range<usize>,
    ) {
        let (zeros, scratch) = scratch.split_at_mut(self.depth);
        zeros.fill(0.0);
        for panel in panels {
            let isa = self.packing.isa;
            let width = panel.width(isa);
            let all = self.packing.taps * self.depth;
            let step = self.block_rows(width);
            let mut first = 0;
            while first < all {
                let end = (first + step).min(all);
                // A block is whole taps, or a stretch of the channels of one.
                let end = if self.depth > step {
                    end.min((first / self.depth + 1) * self.depth)
                } else {
                    end
                };
                let block = self.block(panel, first, end, scratch);
                let call = Call {
                    shape,
                    input: Ring { values: input.values.as_ptr(), kept: input.kept },
                    kept: output.kept,
                    zeros: zeros.as_ptr(),
                    weights: block.as_ptr(),
                    bias: self.bias_of(panel),
                    panel: *panel,
                    depth: self.depth,
                    first,
                    end,
                    finish: Finish::new(isa, if end == all { after } else { &[] }),
                    rows: rows.clone(),
                    columns: columns.clone(),
                };
                // SAFETY: the caller's contract.
                unsafe { run_panel(isa, &call, output.values) };
                first = end;
            }
        }
    }
}

impl Packing {
    /// Rows `rows` of a panel of the turned convolution: row `tap * depth + output channel`, of as
    /// many input channels (as the forward convolution counts them) as the panel is wide.
    fn turn(&self, panel: &Panel, depth: usize, rows: Range<usize>, block: &mut [f32]) {
        let width = panel.width(self.isa);
        let first_input = panel.channel - panel.group * self.depth;
        let forward = self.panels.iter().filter(|forward| forward.group == panel.group);
        let mut buffer = [0.0; MOST_LANES * MOST_LANES];
        for forward in forward {
            let forward_width = forward.width(self.isa);
            let first_output = forward.channel - panel.group * depth;
            for tap in rows.start / depth..rows.end.div_ceil(depth) {
                let row = tap * depth + first_output;
                let wanted = row.max(rows.start)..(row + forward.channels).min(rows.end);
                if wanted.is_empty() {
                    continue;
                }
                let at = (self.taps - 1 - tap) * self.depth + first_input;
                let start = forward.start + at * forward_width;
                let range = start..start + panel.channels * forward_width;
                let square = widened(self.isa, &self.weights, range, &mut buffer);
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
