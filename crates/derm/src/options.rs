//! Options of a classifier.

use derm_model::Precision;
use derm_preprocess::Limits;
use std::num::NonZeroUsize;

/// How a [`Classifier`](crate::Classifier) behaves. [`Options::default`]: default limits, one thread,
/// weights as in the file, no reload.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// What a picture may cost.
    pub limits: Limits,
    /// Threads inside one inference.
    pub intra_op_threads: NonZeroUsize,
    /// Precision of the weights in memory; `None`: that of the file.
    pub weights: Option<Precision>,
    /// When the model is dropped and loaded again; `None`: never.
    pub reload: Option<Reload>,
    /// Whether a model may have operators that were not compared with onnxruntime
    /// (docs/operators.md).
    pub allow_unverified_operators: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            limits: Limits::default(),
            intra_op_threads: NonZeroUsize::MIN,
            weights: None,
            reload: None,
            allow_unverified_operators: false,
        }
    }
}

impl Options {
    /// Sets what a picture may cost.
    pub fn with_limits(self, limits: Limits) -> Options {
        Options { limits, ..self }
    }

    /// Sets the number of threads inside one inference.
    pub fn with_intra_op_threads(self, intra_op_threads: NonZeroUsize) -> Options {
        Options { intra_op_threads, ..self }
    }

    /// Sets the precision of the weights in memory; those of 8 bits stay so.
    pub fn with_weights(self, precision: Precision) -> Options {
        Options { weights: Some(precision), ..self }
    }

    /// Sets whether a model may have operators that were not compared with onnxruntime.
    pub fn with_unverified_operators(self, allow: bool) -> Options {
        Options { allow_unverified_operators: allow, ..self }
    }

    /// Has the model loaded again after a number of uses.
    pub fn with_reload(self, reload: Reload) -> Options {
        Options { reload: Some(reload), ..self }
    }
}

/// After how many uses a model is loaded again: `uses`, plus or minus up to `jitter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reload {
    /// Predictions from one load to the next.
    pub uses: NonZeroUsize,
    /// Random variation, so that several instances do not all load at once.
    pub jitter: usize,
}

impl Reload {
    pub(crate) fn draw(self) -> u64 {
        let (uses, jitter) = (self.uses.get(), self.jitter.min(self.uses.get() - 1));
        fastrand::usize(uses - jitter..=uses + jitter) as u64
    }
}
