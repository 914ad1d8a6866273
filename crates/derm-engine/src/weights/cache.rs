//! The packed weights that the engines of one model share.

use super::constants::Origin;
use derm_kernels::{Isa, PackedConv, Precision};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Packed weights by where they come from, shared by the engines of one model.
#[derive(Debug, Clone, Default)]
pub struct PackedWeightCache(HashMap<PackedWeightKey, PackedConv>);

/// What packed weights are the same by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PackedWeightKey {
    pub(crate) origin: Origin,
    pub(crate) precision: Precision,
    pub(crate) isa: Isa,
    /// `[input channels, output channels, groups]`.
    pub(crate) channels: [usize; 3],
    /// `[rows, columns]` of the window.
    pub(crate) window: [usize; 2],
    /// See [`layout_hash`].
    pub(crate) layout: u64,
}

/// A hash of where the numbers of each index lie in the stored tensor.
pub(crate) fn layout_hash(offsets: &[Vec<usize>; 3]) -> u64 {
    let mut hasher = DefaultHasher::new();
    offsets.hash(&mut hasher);
    hasher.finish()
}

impl PackedWeightCache {
    pub(crate) fn get(&self, key: &PackedWeightKey) -> Option<&PackedConv> {
        self.0.get(key)
    }

    pub(crate) fn insert(&mut self, key: PackedWeightKey, weights: PackedConv) {
        self.0.insert(key, weights);
    }
}
