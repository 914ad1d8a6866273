//! The plan of an integer convolution: packed weights, and what its sums become.

use super::call::ConvCall;
use super::epilogue::Int8Epilogue;
use super::requantize::Requantize;
use super::weights::{Form, PackedInt8, Panel, blocks, depthwise_channel, is_gathered};
use super::{dense, depthwise};
use crate::conv::output::OutputPart;
use crate::geometry::conv::ConvGeometry;
use std::fmt;

/// How an integer convolution of one geometry is computed.
#[derive(Debug, Clone)]
pub struct Int8Plan {
    weights: PackedInt8,
    geometry: ConvGeometry,
    input_zero: u8,
    /// In the order of the packed weights, the input's zero point subtracted.
    bias: Vec<i32>,
    scales: Vec<f32>,
    requantize: Requantize,
    is_by_panels: bool,
}

/// What the sums of a convolution become.
#[derive(Debug, Clone, Copy)]
pub struct Int8Output<'a> {
    /// The input's zero point.
    pub input_zero: u8,
    /// A number for each output channel that is added to the sums.
    pub bias: &'a [i32],
    /// For each output channel the product of the scales of input and weights, divided by the
    /// output's.
    pub scales: &'a [f32],
    /// The output's zero point and bounds.
    pub requantize: &'a Requantize,
}

/// A call of [`Int8Plan::run`].
#[derive(Debug)]
pub struct Int8Call<'a> {
    /// The input, `[rows, columns, inputs]`.
    pub input: &'a [u8],
    /// The units of the output, `[rows, columns, outputs]`, that are computed.
    pub output: OutputPart<'a, u8>,
    /// Operations on the 8-bit results, in order.
    pub epilogue: &'a [Int8Epilogue<'a>],
    /// As many bytes as [`Int8Plan::scratch_len`]; what they hold does not matter.
    pub scratch: &'a mut [u8],
}

impl Int8Plan {
    /// A plan for one geometry.
    ///
    /// # Panics
    /// If the weights were packed for another geometry, there is not a bias and a scale for each
    /// output channel, or a scale is not a finite number.
    pub fn new(weights: PackedInt8, geometry: &ConvGeometry, output: Int8Output<'_>) -> Int8Plan {
        weights.check(geometry);
        assert_eq!(output.bias.len(), geometry.outputs());
        assert_eq!(output.scales.len(), geometry.outputs());
        assert!(output.scales.iter().all(|scale| scale.is_finite()), "a scale is not finite");
        let zero = i32::from(output.input_zero) - weights.kind.offset();
        let bias = output.bias.iter().zip(&*weights.sums);
        let bias: Vec<i32> = bias.map(|(&bias, sum)| bias.wrapping_sub(zero * sum)).collect();
        let order = order(&weights, geometry);
        let of = |channel: &Option<usize>| channel.map_or(0, |channel| bias[channel]);
        let bias = order.iter().map(of).collect();
        let of = |channel: &Option<usize>| channel.map_or(0.0, |channel| output.scales[channel]);
        let scales = order.iter().map(of).collect();
        let pixels = geometry.rows().output() * geometry.columns().output();
        let is_by_panels = match &weights.form {
            // Threads share the panels where there are few pixels for a weight.
            Form::Dense(panels) => !is_gathered(geometry) && panels.len() >= 8 && pixels <= 1024,
            Form::Depthwise => false,
        };
        Int8Plan {
            weights,
            geometry: *geometry,
            input_zero: output.input_zero,
            bias,
            scales,
            requantize: output.requantize.clone(),
            is_by_panels,
        }
    }

    /// The geometry.
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// The weights.
    pub fn weights(&self) -> &PackedInt8 {
        &self.weights
    }

    /// Bytes of what is not shared with other plans.
    pub fn own_bytes(&self) -> usize {
        size_of_val(&self.bias[..]) + size_of_val(&self.scales[..])
    }

    /// Parts into which the work can be divided.
    pub fn units(&self) -> usize {
        match &self.weights.form {
            Form::Dense(panels) if self.is_by_panels => panels.len(),
            Form::Dense(_) => self.geometry.rows().output() * self.geometry.columns().output(),
            Form::Depthwise => self.geometry.rows().output(),
        }
    }

    /// Bytes of scratch that one thread needs.
    pub fn scratch_len(&self) -> usize {
        match &self.weights.form {
            Form::Dense(_) => dense::scratch_len(&self.geometry),
            Form::Depthwise => 0,
        }
    }

    /// Operations of the convolution: two for each multiply-add.
    pub fn operations(&self) -> usize {
        self.geometry.flops()
    }

    /// Computes the units of the output's part.
    ///
    /// # Panics
    /// If a slice does not have the length that the geometry or [`Int8Plan::scratch_len`] says, or the
    /// part has units that the plan does not have.
    pub fn run(&self, call: Int8Call<'_>) {
        let Int8Call { input, output, epilogue, scratch } = call;
        let units = output.units(self.units());
        assert_eq!(input.len(), self.geometry.input_len());
        assert_eq!(output.len(), self.geometry.output_len());
        assert!(scratch.len() >= self.scratch_len());
        for operation in epilogue {
            if let Int8Epilogue::Add { other, .. } = operation {
                assert_eq!(other.len(), output.len());
            }
        }
        let geometry = match &self.weights.form {
            Form::Dense(_) => &self.geometry.flattened(),
            Form::Depthwise => &self.geometry,
        };
        let call = ConvCall {
            kind: self.weights.kind,
            geometry,
            input,
            input_zero: self.input_zero,
            output: output.start(),
            weights: &self.weights.bytes,
            bias: &self.bias,
            scales: &self.scales,
            requantize: &self.requantize,
            epilogue,
        };
        match &self.weights.form {
            // SAFETY: the operands were just checked; the units are rows of the part, which nobody else
            // may touch.
            Form::Depthwise => unsafe { depthwise::run(&call, units) },
            Form::Dense(panels) => {
                let pixels = geometry.rows().output() * geometry.columns().output();
                let (panels, pixels): (&[Panel], _) =
                    if self.is_by_panels { (&panels[units], 0..pixels) } else { (panels, units) };
                // SAFETY: the operands were just checked; the units are channels or pixels of the part.
                unsafe { dense::run(&call, panels, pixels, scratch) };
            }
        }
    }
}

/// The channel of each number of a bias in the order of the packed weights; none for what only fills
/// up a vector.
fn order(weights: &PackedInt8, geometry: &ConvGeometry) -> Vec<Option<usize>> {
    let lanes = weights.kind.lanes();
    match &weights.form {
        Form::Dense(panels) => panels
            .iter()
            .flat_map(|panel| {
                let channel = |index| (index < panel.channels).then_some(panel.channel + index);
                (0..panel.vectors * lanes).map(channel)
            })
            .collect(),
        Form::Depthwise => blocks(weights.kind, geometry.outputs())
            .flat_map(|block| {
                let channel = move |index| {
                    block.channel + depthwise_channel(index / block.lanes, index % block.lanes)
                };
                (0..4 * block.lanes).map(channel)
            })
            .map(|channel| Some(channel).filter(|&channel| channel < geometry.outputs()))
            .collect(),
    }
}

/// Algorithm, kernel, stride, channels and output pixels: `int8 convolution 3x3/1 48>64 at 1444`.
impl fmt::Display for Int8Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let geometry = &self.geometry;
        let (rows, columns) = (geometry.rows(), geometry.columns());
        let name = match self.weights.form {
            Form::Depthwise => "depthwise",
            Form::Dense(_) if geometry.taps() == 1 => "product",
            Form::Dense(_) => "convolution",
        };
        let (inputs, outputs) = (geometry.inputs(), geometry.outputs());
        let pixels = rows.output() * columns.output();
        let (r, c, stride) = (rows.kernel(), columns.kernel(), rows.stride());
        write!(f, "int8 {name} {r}x{c}/{stride} {inputs}>{outputs} at {pixels}")
    }
}
