//! The weights and bias of a convolution, whatever algorithm uses them.

use super::depthwise::DepthwiseWeights;
use super::packed::PackedWeights;
use super::storage::{ChannelScale, Form, Number, Precision};
use crate::geometry::conv::ConvGeometry;
use crate::simd::isa::Isa;

/// A convolution's weights, packed for one instruction set, and its bias. Clones, and the
/// backward-data convolution ([`PackedConv::transposed`]), share the weights.
#[derive(Debug, Clone)]
pub struct PackedConv {
    pub(super) weights: ConvWeights,
    pub(super) bias: Vec<f32>,
}

/// The two ways in which weights are packed.
#[derive(Debug, Clone)]
pub(super) enum ConvWeights {
    Dense(PackedWeights),
    Depthwise(DepthwiseWeights),
}

impl PackedConv {
    /// Packs weights. `value(output, input, tap)` is the weight from input channel `input` (of its
    /// group) at tap `tap` (row by row) to output channel `output`; `bias` has a value for each output
    /// channel, or is none.
    ///
    /// # Panics
    /// If the bias has another length.
    pub fn new<N: Number>(
        isa: Isa,
        precision: Precision,
        geometry: &ConvGeometry,
        bias: Option<&[f32]>,
        value: impl Fn(usize, usize, usize) -> N + Copy,
    ) -> PackedConv {
        PackedConv::of_form(isa, Form::Float(precision), geometry, value).with_bias(bias)
    }

    /// Packs weights of 8 bits, which stay so in memory and are computed with as float32; without bias.
    /// `scales` has one for each output channel; for `value`, see [`PackedConv::new`].
    ///
    /// # Panics
    /// If there are not as many scales.
    pub fn int8(
        isa: Isa,
        scales: &[ChannelScale],
        geometry: &ConvGeometry,
        value: impl Fn(usize, usize, usize) -> i8 + Copy,
    ) -> PackedConv {
        assert_eq!(scales.len(), geometry.outputs());
        PackedConv::of_form(isa, Form::Int8(scales), geometry, value)
    }

    fn of_form<N: Number>(
        isa: Isa,
        form: Form<'_>,
        geometry: &ConvGeometry,
        value: impl Fn(usize, usize, usize) -> N + Copy,
    ) -> PackedConv {
        let weights = if geometry.is_depthwise() {
            let value = move |channel, tap| value(channel, 0, tap);
            ConvWeights::Depthwise(DepthwiseWeights::new(isa, form, geometry, value))
        } else {
            ConvWeights::Dense(PackedWeights::new(isa, form, geometry, value))
        };
        PackedConv { weights, bias: vec![0.0; geometry.outputs()] }
    }

    /// The same weights with another bias: a value for each output channel, or none.
    ///
    /// # Panics
    /// If the bias has another length.
    pub fn with_bias(mut self, bias: Option<&[f32]>) -> PackedConv {
        self.bias.fill(0.0);
        if let Some(bias) = bias {
            self.add_bias(bias);
        }
        self
    }

    /// Adds to the bias: a value for each output channel.
    ///
    /// # Panics
    /// If there are not as many.
    pub fn add_bias(&mut self, more: &[f32]) {
        assert_eq!(self.bias.len(), more.len());
        self.bias.iter_mut().zip(more).for_each(|(bias, more)| *bias += more);
    }

    /// The backward-data convolution, of [`ConvGeometry::transposed`], without bias: from the output's
    /// gradient to the input's. It transposes the weights block by block while it runs and keeps no
    /// copy. None where the geometry has none, or the weights are those of one already.
    ///
    /// # Panics
    /// If `geometry` is not the one that was packed for.
    pub fn transposed(&self, geometry: &ConvGeometry) -> Option<PackedConv> {
        let weights = match &self.weights {
            ConvWeights::Dense(weights) => ConvWeights::Dense(weights.transposed(geometry)?),
            ConvWeights::Depthwise(weights) => {
                ConvWeights::Depthwise(weights.transposed(geometry)?)
            }
        };
        Some(PackedConv { weights, bias: vec![0.0; geometry.inputs()] })
    }

    /// Bytes of weights in memory, shared by all clones.
    pub fn bytes(&self) -> usize {
        match &self.weights {
            ConvWeights::Dense(weights) => weights.bytes(),
            ConvWeights::Depthwise(weights) => weights.bytes(),
        }
    }

    /// Equal for all that share their weights, different for others.
    pub fn identity(&self) -> usize {
        match &self.weights {
            ConvWeights::Dense(weights) => weights.identity(),
            ConvWeights::Depthwise(weights) => weights.identity(),
        }
    }
}
