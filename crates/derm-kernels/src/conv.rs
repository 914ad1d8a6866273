//! Convolution and matrix product: one kernel, since a product is a convolution over one row.
//!
//! Values are channels-last, weights are packed in panels of a few output channels. A panel is
//! widened into a cache-sized scratch block, then every tile of output pixels runs over it with
//! its sums in registers. No patch matrix is built: each row of a tile reads its input pixel where
//! it lies (compare Dukhan, *The Indirect Convolution Algorithm*, 2019, arXiv:1907.02129).

use crate::after::{After, finish};
use crate::isa::{Isa, dispatch};
use crate::simd::Simd;
use crate::widen::widened;
use crate::{Precision, Weights};
use std::ops::Range;
use std::sync::Arc;

/// Weights of a panel that are widened at once: 128 KiB of scratch.
const BLOCK: usize = 32 * 1024;

/// Output channels of a panel, at most.
const MOST_LANES: usize = 32;

/// One spatial axis of a convolution or a pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// Input places.
    pub input: usize,
    /// Output places.
    pub output: usize,
    /// Kernel places.
    pub kernel: usize,
    /// Input places from one output place to the next.
    pub stride: usize,
    /// Input places from one kernel place to the next.
    pub dilation: usize,
    /// Places before the first.
    pub before: usize,
    /// Places from one input place to the next, zeros between them: 1, but for the gradient of a
    /// strided window.
    pub spread: usize,
}

impl Axis {
    /// One place, read as it is.
    pub const ONE: Axis = Axis::pointwise(1);

    /// Every place by itself.
    pub const fn pointwise(places: usize) -> Axis {
        Axis {
            input: places,
            output: places,
            kernel: 1,
            stride: 1,
            dilation: 1,
            before: 0,
            spread: 1,
        }
    }

    pub(crate) fn is_pointwise(self) -> bool {
        self.kernel == 1
            && self.stride == 1
            && self.before == 0
            && self.spread == 1
            && self.input == self.output
    }

    /// The axis of the input's gradient: from the output's places to the input's, kernel places in
    /// the opposite order. None where the window reaches nothing but padding.
    pub(crate) fn turned(self) -> Option<Axis> {
        assert_eq!(self.spread, 1, "a gradient of a gradient");
        Some(Axis {
            input: self.output,
            output: self.input,
            kernel: self.kernel,
            stride: 1,
            dilation: self.dilation,
            before: (self.dilation * (self.kernel - 1)).checked_sub(self.before)?,
            spread: self.stride,
        })
    }

    /// The input place under kernel place `tap` of output place `at`, where it is not padding.
    pub(crate) fn place(self, at: usize, tap: usize) -> Option<usize> {
        let place = (at * self.stride + tap * self.dilation).checked_sub(self.before)?;
        if self.spread == 1 {
            return (place < self.input).then_some(place);
        }
        let hits = place.is_multiple_of(self.spread) && place / self.spread < self.input;
        hits.then_some(place / self.spread)
    }
}

/// What a convolution reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Rows.
    pub rows: Axis,
    /// Columns.
    pub columns: Axis,
    /// Input channels, all groups together.
    pub inputs: usize,
    /// Output channels, all groups together.
    pub outputs: usize,
    /// Groups; each output channel sees `inputs / groups` input channels.
    pub groups: usize,
}

impl ConvShape {
    /// The product of a `rows` x `inputs` matrix with an `inputs` x `outputs` one.
    pub fn product(rows: usize, inputs: usize, outputs: usize) -> ConvShape {
        let columns = Axis::pointwise(rows);
        ConvShape { rows: Axis::ONE, columns, inputs, outputs, groups: 1 }
    }

    /// Values read.
    pub fn input_len(&self) -> usize {
        self.rows.input * self.columns.input * self.inputs
    }

    /// Values written.
    pub fn output_len(&self) -> usize {
        self.rows.output * self.columns.output * self.outputs
    }

    /// The convolution that makes the input's gradient of the output's: the same kernel, turned
    /// by half a turn, from output to input channels. None where padding is wider than the kernel.
    pub fn turned(&self) -> Option<ConvShape> {
        Some(ConvShape {
            rows: self.rows.turned()?,
            columns: self.columns.turned()?,
            inputs: self.outputs,
            outputs: self.inputs,
            groups: self.groups,
        })
    }

    fn taps(&self) -> usize {
        self.rows.kernel * self.columns.kernel
    }

    /// Rows and columns as one axis, where no place sees another.
    fn flattened(mut self) -> ConvShape {
        if self.rows.is_pointwise() && self.columns.is_pointwise() {
            self.columns = Axis::pointwise(self.rows.input * self.columns.input);
            self.rows = Axis::ONE;
        }
        self
    }
}

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
struct Panel {
    group: usize,
    /// First output channel and how many.
    channel: usize,
    channels: usize,
    /// Vectors a row.
    vectors: usize,
    /// First weight; they lie as [tap][input channel][vectors * lanes].
    start: usize,
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
        let (lanes, depth) = (isa.lanes(), shape.inputs / shape.groups);
        let (panels, length) = panels(isa, shape);
        let panel_of: Vec<usize> = panels.iter().map(|panel| panel.start).chain([length]).collect();
        let mut number = 0;
        let weights = Weights::from_fn(precision, length, |i| {
            while i >= panel_of[number + 1] {
                number += 1;
            }
            let panel = panels[number];
            let width = panel.vectors * lanes;
            let (row, lane) = ((i - panel.start) / width, (i - panel.start) % width);
            if lane >= panel.channels {
                return 0.0;
            }
            value(panel.channel + lane, row % depth, row / depth)
        });
        let taps = shape.taps();
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
    pub fn scratch(&self) -> usize {
        let width = 2 * self.packing.isa.lanes();
        let block = match self.packing.weights {
            Weights::F32(_) if !self.is_turned => 0,
            _ => self.block_rows(width) * width,
        };
        // And a pixel of zeros for the padding.
        block + self.depth
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
        let width = panel.vectors * self.packing.isa.lanes();
        if self.is_turned {
            let block = &mut scratch[..(end - first) * width];
            self.packing.turn(panel, self.depth, first..end, block);
            return block;
        }
        let range = panel.start + first * width..panel.start + end * width;
        widened(self.packing.isa, &self.packing.weights, range, scratch)
    }

    /// Convolves the rows `band` of the output (after [`ConvShape`]'s flattening: a part of
    /// [`PackedConv::units`]).
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
        let units = PackedConv::units(shape);
        // SAFETY: the output is ours alone, and all of it.
        unsafe { self.run_part(shape, input, output.as_mut_ptr(), after, scratch, 0..units) }
    }

    /// Into how many parts the work can be cut: output rows, or places where there is one row.
    pub fn units(shape: &ConvShape) -> usize {
        let shape = shape.flattened();
        if shape.rows.output > 1 { shape.rows.output } else { shape.columns.output }
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
        assert_eq!(self.bias.len(), shape.outputs);
        assert_eq!((self.packing.taps, self.depth), (shape.taps(), shape.inputs / shape.groups));
        assert!(after.iter().all(|after| after.fits(shape.output_len())));
        assert!(scratch.len() >= self.scratch());
        assert!(part.end <= PackedConv::units(shape));
        let shape = shape.flattened();
        let (rows, columns) = if shape.rows.output > 1 {
            (part, 0..shape.columns.output)
        } else {
            (0..shape.rows.output, part)
        };
        let (zeros, scratch) = scratch.split_at_mut(self.depth);
        zeros.fill(0.0);
        for panel in &self.panels {
            let isa = self.packing.isa;
            let width = panel.vectors * isa.lanes();
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
                    shape: &shape,
                    input: input.as_ptr(),
                    zeros: zeros.as_ptr(),
                    weights: block.as_ptr(),
                    bias: &self.bias[panel.channel..panel.channel + panel.channels],
                    panel: *panel,
                    depth: self.depth,
                    first,
                    end,
                    after: if end == all { after } else { &[] },
                    rows: rows.clone(),
                    columns: columns.clone(),
                    isa,
                };
                // SAFETY: lengths were checked above.
                unsafe { run_panel(isa, &call, output) };
                first = end;
            }
        }
    }
}

impl Packing {
    /// Rows `rows` of a panel of the turned convolution: row `tap * depth + output channel`, of as
    /// many input channels (as the forward convolution counts them) as the panel is wide.
    fn turn(&self, panel: &Panel, depth: usize, rows: Range<usize>, block: &mut [f32]) {
        let lanes = self.isa.lanes();
        let width = panel.vectors * lanes;
        let first_input = panel.channel - panel.group * self.depth;
        let forward = self.panels.iter().filter(|forward| forward.group == panel.group);
        let mut buffer = [0.0; MOST_LANES * MOST_LANES];
        for forward in forward {
            let forward_width = forward.vectors * lanes;
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

/// One block of one panel over all tiles.
struct Call<'a> {
    shape: &'a ConvShape,
    input: *const f32,
    zeros: *const f32,
    weights: *const f32,
    bias: &'a [f32],
    panel: Panel,
    depth: usize,
    /// Rows of the panel: tap * depth + channel.
    first: usize,
    end: usize,
    after: &'a [After<'a>],
    rows: Range<usize>,
    columns: Range<usize>,
    isa: Isa,
}

dispatch! {
    unsafe fn run_panel = panel_with(call: &Call<'_>, output: *mut f32)
}

#[inline(always)]
unsafe fn panel_with<S: Simd>(call: &Call<'_>, output: *mut f32) {
    // Tiles as equal as can be: 75 columns are 7 tiles of 11 or 10, not 6 of 12 and one of 3.
    let count = call.columns.len();
    let tiles = count.div_ceil(S::ROWS);
    let stride = call.shape.outputs;
    for row in call.rows.clone() {
        let mut column = call.columns.start;
        for tile in 0..tiles {
            let size = (count * (tile + 1)).div_ceil(tiles) - (count * tile).div_ceil(tiles);
            let place = (row * call.shape.columns.output + column) * stride + call.panel.channel;
            // SAFETY: the tile lies inside the output, as rows and columns do.
            unsafe {
                let to = output.add(place);
                tile_of_size::<S>(call, row, column, to, size);
                let rows = [size, call.panel.channels, stride];
                finish(call.isa, call.after, output, place, rows);
            }
            column += size;
        }
    }
}

/// Calls the tile function of this size.
#[inline(always)]
unsafe fn tile_of_size<S: Simd>(
    call: &Call<'_>,
    row: usize,
    column: usize,
    to: *mut f32,
    size: usize,
) {
    macro_rules! sizes {
        ($($size:literal)*) => {
            match (size, call.panel.vectors) {
                $(
                    ($size, 1) if $size <= S::ROWS => tile::<S, $size, 1>(call, row, column, to),
                    ($size, _) if $size <= S::ROWS => tile::<S, $size, 2>(call, row, column, to),
                )*
                _ => unreachable!("tiles have at most ROWS rows"),
            }
        };
    }
    // SAFETY: the caller's contract.
    unsafe { sizes!(1 2 3 4 5 6 7 8 9 10 11 12) }
}

/// Runs a block once for each row of a tile, written out, so that the sums stay in registers: a
/// loop that the compiler leaves rolled would put them in memory.
macro_rules! for_rows {
    ($row:ident in $count:ident $body:block) => {
        for_rows!(@ $row $count $body 0 1 2 3 4 5 6 7 8 9 10 11)
    };
    (@ $row:ident $count:ident $body:block $($number:literal)*) => {
        $(if $number < $count {
            let $row: usize = $number;
            $body
        })*
    };
}

/// `M` neighbouring pixels of one output row by `N` vectors of channels.
#[expect(clippy::needless_range_loop, reason = "several lists are walked at once")]
#[inline(always)]
unsafe fn tile<S: Simd, const M: usize, const N: usize>(
    call: &Call<'_>,
    row: usize,
    column: usize,
    to: *mut f32,
) {
    let shape = call.shape;
    let (rows, columns, stride) = (shape.rows, shape.columns, shape.outputs);
    let group = call.panel.group * call.depth;
    // SAFETY: pixels are checked against the input's size, channels are those of the panel; lanes
    // beyond the panel's channels are neither loaded nor stored.
    unsafe {
        let mut sums = [[S::splat(0.0); N]; M];
        let mut weights = call.weights;
        let mut at = call.first;
        while at < call.end {
            let (tap, channel) = (at / call.depth, at % call.depth);
            let count = (call.depth - channel).min(call.end - at);
            at += count;
            let Some(input_row) = rows.place(row, tap / columns.kernel) else {
                weights = weights.add(count * N * S::LANES);
                continue;
            };
            let line = call.input.add(input_row * columns.input * shape.inputs + group + channel);
            let mut pixels = [call.zeros; M];
            for_rows!(m in M {
                if let Some(place) = columns.place(column + m, tap % columns.kernel) {
                    pixels[m] = line.add(place * shape.inputs);
                }
            });
            for k in 0..count {
                let mut w = [S::splat(0.0); N];
                for (n, w) in w.iter_mut().enumerate() {
                    *w = S::load(weights.add(n * S::LANES));
                }
                for_rows!(m in M {
                    let value = S::splat(*pixels[m].add(k));
                    for n in 0..N {
                        sums[m][n] = S::fma(value, w[n], sums[m][n]);
                    }
                });
                weights = weights.add(N * S::LANES);
            }
        }
        let last = call.panel.channels - (N - 1) * S::LANES;
        for n in 0..N {
            let lanes = if n + 1 == N { last } else { S::LANES };
            let bias = S::load_first(call.bias.as_ptr().add(n * S::LANES), lanes);
            for_rows!(m in M {
                let to = to.add(m * stride + n * S::LANES);
                let before = if call.first == 0 { bias } else { S::load_first(to, lanes) };
                S::store_first(to, S::add(sums[m][n], before), lanes);
            });
        }
    }
}
