//! Weights as they are stored.

use crate::geometry::conv::ConvGeometry;
use crate::geometry::packing::in_packing_order;
use half::f16;
use std::ops::Range;

/// The precision in which weights are stored; they are widened to float32 when used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// IEEE half precision, two bytes a weight.
    F16,
    /// Single precision.
    F32,
}

/// A number that weights are packed from: it can be stored in each form.
pub trait Number: Copy {
    /// Half precision: the bits of the nearest float16.
    fn to_f16_bits(self) -> u16;
    /// Single precision.
    fn to_f32(self) -> f32;
    /// 8 bits: the integer, rounded towards zero; other numbers than integers are not packed so.
    fn to_i8(self) -> i8;
}

impl Number for f32 {
    fn to_f16_bits(self) -> u16 {
        f16::from_f32(self).to_bits()
    }

    fn to_f32(self) -> f32 {
        self
    }

    fn to_i8(self) -> i8 {
        self as i8
    }
}

impl Number for f16 {
    fn to_f16_bits(self) -> u16 {
        self.to_bits()
    }

    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }

    fn to_i8(self) -> i8 {
        f16::to_f32(self) as i8
    }
}

impl Number for i8 {
    fn to_f16_bits(self) -> u16 {
        f16::from(self).to_bits()
    }

    fn to_f32(self) -> f32 {
        self.into()
    }

    fn to_i8(self) -> i8 {
        self
    }
}

/// Scale and zero point of an output channel: its 8-bit weight `q` stands for `(q - zero_point) * scale`, as float32.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChannelScale {
    /// Scale: what one step of the integers is.
    pub scale: f32,
    /// Zero point: the integer that stands for 0.
    pub zero_point: i8,
}

impl ChannelScale {
    /// Of channels that fill up a panel: 0 stands for 0.
    const PADDING: ChannelScale = ChannelScale { scale: 0.0, zero_point: 0 };
}

/// The form in which weights are stored.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form<'a> {
    Float(Precision),
    /// Signed 8-bit integers, and what those of each output channel stand for.
    Int8(&'a [ChannelScale]),
}

/// Weights in one of the forms: rows of a value for each of some output channels.
#[derive(Debug, Clone)]
pub(super) enum WeightStorage {
    /// IEEE half precision, as bits.
    F16(Vec<u16>),
    /// Single precision.
    F32(Vec<f32>),
    /// Weight-only quantisation: integers that stand for floats.
    Int8(Int8Storage),
}

/// Weight-only quantisation: 8-bit weights, whose scales and zero points are those of their columns.
#[derive(Debug, Clone)]
pub(super) struct Int8Storage {
    pub(super) values: Vec<i8>,
    /// The scale of each column.
    scales: Vec<f32>,
    /// The zero point of each column.
    zero_points: Vec<i8>,
}

impl Int8Storage {
    /// The scales and zero points of `width` columns.
    ///
    /// # Panics
    /// If there are not as many.
    pub(super) fn columns(&self, first: usize, width: usize) -> Int8Scales<'_> {
        let columns = first..first + width;
        Int8Scales {
            scales: &self.scales[columns.clone()],
            zero_points: &self.zero_points[columns],
        }
    }
}

/// The scales and zero points of some columns of 8-bit weights.
#[derive(Debug, Clone, Copy)]
pub(super) struct Int8Scales<'a> {
    pub(super) scales: &'a [f32],
    pub(super) zero_points: &'a [i8],
}

impl WeightStorage {
    /// As many zeros. `channels`: the output channel of each column, none where
    /// it fills up a row.
    ///
    /// # Panics
    /// If an 8-bit form lacks one of the channels.
    pub(super) fn new(
        form: Form<'_>,
        length: usize,
        channels: impl Iterator<Item = Option<usize>>,
    ) -> WeightStorage {
        match form {
            Form::Float(Precision::F16) => WeightStorage::F16(vec![0; length]),
            Form::Float(Precision::F32) => WeightStorage::F32(vec![0.0; length]),
            Form::Int8(all) => {
                let of_channel =
                    |channel: Option<usize>| channel.map_or(ChannelScale::PADDING, |c| all[c]);
                let (scales, zero_points) =
                    channels.map(of_channel).map(|of| (of.scale, of.zero_point)).unzip();
                let values = vec![0; length];
                WeightStorage::Int8(Int8Storage { values, scales, zero_points })
            }
        }
    }

    /// Sets the weights of some output channels; 8-bit ones to the integers. `index` and `value` are those of
    /// the weight of an output channel, an input channel of its group, and a tap.
    ///
    /// # Panics
    /// If there is no such index.
    pub(super) fn fill<N: Number>(
        &mut self,
        outputs: Range<usize>,
        geometry: &ConvGeometry,
        index: impl Fn(usize, usize, usize) -> usize,
        value: impl Fn(usize, usize, usize) -> N,
    ) {
        match self {
            WeightStorage::F16(list) => {
                fill(list, outputs, geometry, index, |o, i, t| value(o, i, t).to_f16_bits());
            }
            WeightStorage::F32(list) => {
                fill(list, outputs, geometry, index, |o, i, t| value(o, i, t).to_f32());
            }
            WeightStorage::Int8(Int8Storage { values: list, .. }) => {
                fill(list, outputs, geometry, index, |o, i, t| value(o, i, t).to_i8());
            }
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        match self {
            WeightStorage::F16(list) => list.len(),
            WeightStorage::F32(list) => list.len(),
            WeightStorage::Int8(Int8Storage { values, .. }) => values.len(),
        }
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        match self {
            WeightStorage::F16(list) => size_of_val(&list[..]),
            WeightStorage::F32(list) => size_of_val(&list[..]),
            WeightStorage::Int8(Int8Storage { values, scales, zero_points }) => {
                size_of_val(&values[..]) + size_of_val(&scales[..]) + size_of_val(&zero_points[..])
            }
        }
    }
}

#[inline(always)]
fn fill<T>(
    list: &mut [T],
    outputs: Range<usize>,
    geometry: &ConvGeometry,
    index: impl Fn(usize, usize, usize) -> usize,
    value: impl Fn(usize, usize, usize) -> T,
) {
    in_packing_order(outputs, geometry, move |output, input, tap| {
        list[index(output, input, tap)] = value(output, input, tap);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_is_stored_as_the_single_of_the_same_value() {
        // All but NaN, of which single precision has more.
        for value in (0..=u16::MAX).map(f16::from_bits).filter(|value| !value.is_nan()) {
            assert_eq!(value.to_f16_bits(), value.to_f32().to_f16_bits());
        }
    }
}
