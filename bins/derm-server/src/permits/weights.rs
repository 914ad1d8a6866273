//! Weights memory: what the weights of each model take out of the memory that inferences share.

use super::{BLOCK, InferencePermit, Permits};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};

/// The memory of one model's weights. It stays taken when the model is unloaded, until it is
/// [released](Permits::release_weights).
#[derive(Debug, Default)]
pub(crate) struct WeightsMemory {
    is_kept: AtomicBool,
    blocks: AtomicUsize,
}

impl WeightsMemory {
    /// Whether it was taken.
    pub(crate) fn is_kept(&self) -> bool {
        self.is_kept.load(Acquire)
    }

    /// Bytes of it.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.load(Relaxed) * BLOCK
    }
}

impl Permits {
    /// Takes a model's weights out of the memory that inferences share, out of what the first one
    /// holds; returns whether there was enough. Does nothing for another inference than the first: a
    /// later one whose demand is unknown finds the weights kept, and there is one copy of them.
    pub(crate) fn keep_for_weights(
        &self,
        weights: &WeightsMemory,
        permit: &mut InferencePermit,
        bytes: usize,
    ) -> bool {
        if permit.first.is_none() || weights.is_kept() {
            return true;
        }
        self.set_weights(weights, permit, bytes)
    }

    /// As [`Permits::keep_for_weights`], for the weights of another model in place of the last one's:
    /// what they take more comes out of the permit, what they take less is shared again. Called by
    /// one at a time for each model.
    pub(crate) fn set_weights(
        &self,
        weights: &WeightsMemory,
        permit: &mut InferencePermit,
        bytes: usize,
    ) -> bool {
        let (before, wanted) = (weights.blocks.load(Relaxed), bytes.div_ceil(BLOCK));
        let lacking = wanted.saturating_sub(before);
        let more = lacking.min(permit.memory.num_permits().saturating_sub(1));
        if let Some(taken) = permit.memory.split(more) {
            taken.forget();
            self.all_memory.fetch_sub(more, Relaxed);
        }
        let less = before.saturating_sub(wanted);
        self.share(less);
        weights.blocks.store(before + more - less, Relaxed);
        weights.is_kept.store(true, Release);
        more == lacking
    }

    /// Shares the memory of a model's weights again. They must be gone.
    pub(crate) fn release_weights(&self, weights: &WeightsMemory) {
        weights.is_kept.store(false, Release);
        self.share(weights.blocks.swap(0, Relaxed));
    }

    fn share(&self, blocks: usize) {
        self.all_memory.fetch_add(blocks, Relaxed);
        self.memory.add_permits(blocks);
    }
}
