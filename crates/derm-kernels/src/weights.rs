//! Weights as they stay in memory.

use half::f16;

/// How weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// IEEE half precision: two bytes a weight, widened when used.
    F16,
    /// Single precision.
    F32,
}

/// A list of weights in either precision.
#[derive(Debug, Clone)]
pub enum Weights {
    /// IEEE half precision, as bits.
    F16(Vec<u16>),
    /// Single precision.
    F32(Vec<f32>),
}

impl Weights {
    /// No weights, with room for `length`.
    pub(crate) fn with_capacity(precision: Precision, length: usize) -> Weights {
        match precision {
            Precision::F16 => Weights::F16(Vec::with_capacity(length)),
            Precision::F32 => Weights::F32(Vec::with_capacity(length)),
        }
    }

    /// Puts more weights at the end.
    pub(crate) fn extend(&mut self, values: impl Iterator<Item = f32>) {
        match self {
            Weights::F16(list) => list.extend(values.map(|value| f16::from_f32(value).to_bits())),
            Weights::F32(list) => list.extend(values),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Weights::F16(list) => list.len(),
            Weights::F32(list) => list.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes they take.
    pub fn bytes(&self) -> usize {
        match self {
            Weights::F16(list) => 2 * list.len(),
            Weights::F32(list) => 4 * list.len(),
        }
    }
}
