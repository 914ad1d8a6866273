//! Weights in each form in which they are stored.

use super::numbers;
use derm_kernels::{ChannelScale, ConvGeometry, Isa, PackedConv, Precision};
use proptest::prelude::*;

/// A form in which weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Float(Precision),
    Int8,
}

/// Any form.
pub(crate) fn forms() -> impl Strategy<Value = Form> {
    prop_oneof![
        Just(Form::Float(Precision::F16)),
        Just(Form::Float(Precision::F32)),
        Just(Form::Int8)
    ]
}

/// Weights that look random, exact in their form.
pub(crate) struct Weights {
    geometry: ConvGeometry,
    numbers: Numbers,
}

enum Numbers {
    Float(Precision, Vec<f32>),
    Int8(Vec<i8>, Vec<ChannelScale>),
}

impl Weights {
    pub(crate) fn new(form: Form, geometry: &ConvGeometry, seed: u32) -> Weights {
        let numbers = match form {
            Form::Float(precision) => Numbers::Float(precision, numbers(geometry.weights(), seed)),
            Form::Int8 => {
                let integer = |x: &f32| (x * 128.0) as i8;
                let values = numbers(geometry.weights(), seed).iter().map(integer).collect();
                let channels = numbers(2 * geometry.outputs(), seed ^ 7);
                let scale = |pair: &[f32]| ChannelScale {
                    scale: (pair[0] + 2.0) / 300.0,
                    zero_point: integer(&pair[1]),
                };
                Numbers::Int8(values, channels.chunks(2).map(scale).collect())
            }
        };
        Weights { geometry: *geometry, numbers }
    }

    fn index(&self, output: usize, input: usize, tap: usize) -> usize {
        (output * self.geometry.depth() + input) * self.geometry.taps() + tap
    }

    /// The number that is computed with.
    pub(crate) fn at(&self, output: usize, input: usize, tap: usize) -> f32 {
        let index = self.index(output, input, tap);
        match &self.numbers {
            Numbers::Float(_, values) => values[index],
            Numbers::Int8(values, channels) => {
                let ChannelScale { scale, zero_point } = channels[output];
                (i32::from(values[index]) - i32::from(zero_point)) as f32 * scale
            }
        }
    }

    pub(crate) fn pack(&self, isa: Isa) -> PackedConv {
        match &self.numbers {
            Numbers::Float(precision, _) => {
                let value = |output, input, tap| self.at(output, input, tap);
                PackedConv::new(isa, *precision, &self.geometry, None, value)
            }
            Numbers::Int8(values, channels) => {
                let value = |output, input, tap| values[self.index(output, input, tap)];
                PackedConv::int8(isa, channels, &self.geometry, value)
            }
        }
    }
}
