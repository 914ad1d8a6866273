//! Weights as they are stored.

use half::f16;

/// The precision in which weights are stored; they are widened to float32 when used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// IEEE half precision, two bytes a weight.
    F16,
    /// Single precision.
    F32,
}

/// Weights in one of the precisions. An integer form would be a further variant, with panels and
/// epilogues of its own.
#[derive(Debug, Clone)]
pub(crate) enum WeightStorage {
    /// IEEE half precision, as bits.
    F16(Vec<u16>),
    /// Single precision.
    F32(Vec<f32>),
}

impl WeightStorage {
    /// No weights, with capacity for `length`.
    pub(crate) fn with_capacity(precision: Precision, length: usize) -> WeightStorage {
        match precision {
            Precision::F16 => WeightStorage::F16(Vec::with_capacity(length)),
            Precision::F32 => WeightStorage::F32(Vec::with_capacity(length)),
        }
    }

    /// Appends weights.
    pub(crate) fn extend(&mut self, values: impl Iterator<Item = f32>) {
        match self {
            WeightStorage::F16(list) => {
                list.extend(values.map(|value| f16::from_f32(value).to_bits()));
            }
            WeightStorage::F32(list) => list.extend(values),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            WeightStorage::F16(list) => list.len(),
            WeightStorage::F32(list) => list.len(),
        }
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            WeightStorage::F16(list) => 2 * list.len(),
            WeightStorage::F32(list) => 4 * list.len(),
        }
    }
}
