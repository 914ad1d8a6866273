//! Probe: repeated runs of the network on variations of one input.

use crate::{Error, Evaluation};
use ndarray::{CowArray, Ix3};

/// Progress callback of slow methods, called before each run of the network with the number of runs
/// done and their total; returning `false` stops the explanation.
pub type Watch<'a> = &'a mut dyn FnMut(usize, usize) -> bool;

/// Runs the network on variations of one input, for one class, in the memory of one evaluation.
pub(super) struct Probe<'p, 'e> {
    pub(super) evaluation: &'p mut Evaluation<'e>,
    /// The normalised input, `[rows, columns, channels]`.
    pub(super) input: &'p [f32],
    /// Rows, columns and channels of the input.
    pub(super) shape: [usize; 3],
    /// Index of the class that is explained.
    pub(super) class: usize,
    pub(super) watch: Watch<'p>,
}

impl Probe<'_, '_> {
    /// Reports progress.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub(super) fn report(&mut self, done: usize, total: usize) -> Result<(), Error> {
        if (self.watch)(done, total) { Ok(()) } else { Err(Error::Stopped) }
    }

    /// The gradient of the class's logit with respect to the input, `[channels, rows, columns]`, at the
    /// input that `change` makes of this one.
    pub(super) fn gradient(
        &mut self,
        change: impl FnOnce(&mut [f32]),
    ) -> Result<CowArray<'_, f32, Ix3>, Error> {
        self.score(change)?;
        self.evaluation.run_backward(self.class)?;
        self.evaluation.gradients()
    }

    /// The class's score for the input that `change` makes of this one.
    pub(super) fn score(&mut self, change: impl FnOnce(&mut [f32])) -> Result<f32, Error> {
        let scores = self.evaluation.rerun(|to| {
            to.copy_from_slice(self.input);
            change(to);
        })?;
        Ok(scores[self.class])
    }
}
