//! Weights: where they are in the model's file, which values of a graph are constant, and the packed
//! weights that the engines of one model share.

mod cache;
mod constants;
mod file;
mod offsets;
mod strided;

pub use cache::PackedWeightCache;
pub(crate) use cache::{Int8WeightKey, PackedForm, PackedWeightKey};
pub use constants::Constants;
pub(crate) use constants::{Int8Weights, Weights};
pub use file::{Bytes, Stored, StoredWeights};
pub(crate) use offsets::WeightOffsets;
pub(crate) use strided::Strided;
