//! The packed weights that the engines of one model share.

use super::constants::Origin;
use derm_kernels::{ChannelScale, Isa, PackedConv, PackedInt8, Precision};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Packed weights by where they come from, shared by the engines of one model.
#[derive(Debug, Clone, Default)]
pub struct PackedWeightCache {
    float: HashMap<PackedWeightKey, PackedConv>,
    int8: HashMap<Int8WeightKey, PackedInt8>,
}

/// What packed weights are the same by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PackedWeightKey {
    pub(crate) origin: Origin,
    pub(crate) form: PackedForm,
    pub(crate) isa: Isa,
    /// `[input channels, output channels, groups]`.
    pub(crate) channels: [usize; 3],
    /// `[rows, columns]` of the window.
    pub(crate) window: [usize; 2],
    /// A hash of where the numbers lie in the stored tensor: [`WeightOffsets::layout`](super::WeightOffsets::layout).
    pub(crate) layout: u64,
}

/// The form of packed weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum PackedForm {
    Float(Precision),
    /// 8 bits, with a hash of the scales and zero points.
    Int8(u64),
}

impl PackedForm {
    /// 8 bits with these scales.
    pub(crate) fn int8(scales: &[ChannelScale]) -> PackedForm {
        let mut hasher = DefaultHasher::new();
        scales.iter().for_each(|of| (of.scale.to_bits(), of.zero_point).hash(&mut hasher));
        PackedForm::Int8(hasher.finish())
    }
}

/// What packed 8-bit weights are the same by; the fields are those of [`PackedWeightKey`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Int8WeightKey {
    pub(crate) origin: Origin,
    pub(crate) isa: Isa,
    pub(crate) channels: [usize; 3],
    pub(crate) window: [usize; 2],
    pub(crate) layout: u64,
}

impl PackedWeightCache {
    pub(crate) fn get(&self, key: &PackedWeightKey) -> Option<&PackedConv> {
        self.float.get(key)
    }

    pub(crate) fn insert(&mut self, key: PackedWeightKey, weights: PackedConv) {
        self.float.insert(key, weights);
    }

    pub(crate) fn int8(&self, key: &Int8WeightKey) -> Option<&PackedInt8> {
        self.int8.get(key)
    }

    pub(crate) fn insert_int8(&mut self, key: Int8WeightKey, weights: PackedInt8) {
        self.int8.insert(key, weights);
    }
}
