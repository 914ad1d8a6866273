//! Evaluation: one run of an explainer, from which any class can be explained.

use super::Explainer;
use crate::Error;
use derm_model::Run;
use ndarray::{CowArray, Ix3};

/// The result of one run and the memory it ran in, enough to explain any class.
#[derive(Debug)]
pub struct Evaluation<'a> {
    /// The graph's first output, `[classes]`.
    pub scores: Vec<f32>,
    /// The output that the manifest's `uncertain.output` names.
    pub ood_score: Option<f32>,
    explainer: &'a Explainer,
    run: Run<'a>,
    /// Whether the run holds another input than the one that was evaluated.
    is_changed: bool,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(explainer: &'a Explainer, run: Run<'a>) -> Evaluation<'a> {
        let scores = run.output(0).iter().copied().collect();
        let has_ood_score = explainer.manifest.uncertain.is_some();
        let ood_score = has_ood_score.then(|| run.output(1).iter().copied().next()).flatten();
        Evaluation { scores, ood_score, explainer, run, is_changed: false }
    }

    /// The explainer that ran.
    pub(crate) fn explainer(&self) -> &'a Explainer {
        self.explainer
    }

    /// Runs the forward pass on another input in the same memory; returns its scores. Activations and
    /// gradients are those of that input until [`Evaluation::restore`].
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub(crate) fn rerun(&mut self, fill: impl FnOnce(&mut [f32])) -> Result<Vec<f32>, Error> {
        self.is_changed = true;
        self.run.feed(0, fill)?;
        Ok(self.run.output(0).iter().copied().collect())
    }

    /// Runs the forward pass on the original input again, which `fill` writes, if another one ran
    /// since.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub(crate) fn restore(&mut self, fill: impl FnOnce(&mut [f32])) -> Result<(), Error> {
        if self.is_changed {
            self.run.feed(0, fill)?;
            self.is_changed = false;
        }
        Ok(())
    }

    /// The layer's activations, `[channels, rows, columns]`.
    ///
    /// # Errors
    /// That of [`Explainer::why_not`].
    pub fn activations(&self) -> Result<CowArray<'_, f32, Ix3>, Error> {
        let layout = self.explainer.layout.clone()?;
        layout.channels_first(self.run.output(self.explainer.layer_output()))
    }

    /// Runs the backward pass from the logit of `class`, for [`Evaluation::gradients`].
    ///
    /// # Errors
    /// That of [`Explainer::why_not`], [`Error::NoSuchClass`], [`Error::Failed`].
    pub fn run_backward(&mut self, class: usize) -> Result<(), Error> {
        self.explainer.layout.clone()?;
        if class >= self.scores.len() {
            return Err(Error::NoSuchClass(class));
        }
        self.run.feed(1, |seed| {
            seed.fill(0.0);
            seed[class] = 1.0;
        })?;
        Ok(())
    }

    /// The gradient of the last [`Evaluation::run_backward`] with respect to the layer, shaped as
    /// [`Evaluation::activations`]; unspecified values before the first.
    ///
    /// # Errors
    /// That of [`Explainer::why_not`].
    pub fn gradients(&self) -> Result<CowArray<'_, f32, Ix3>, Error> {
        let layout = self.explainer.layout.clone()?;
        layout.channels_first(self.run.output(self.explainer.layer_output() + 1))
    }

    /// Runs the layers after the explained one again and returns the logits; with `ablated`, that
    /// channel of the layer (as [`Evaluation::activations`] numbers them) is zero. Only of an
    /// explainer that [`Explainer::load_replaying`] made.
    ///
    /// # Errors
    /// That of [`Explainer::why_not`], [`Error::Failed`].
    pub(crate) fn replay(&mut self, ablated: Option<usize>) -> Result<Vec<f32>, Error> {
        let layout = self.explainer.layout.clone()?;
        let layer = self.explainer.layer_output();
        let mut value = self.run.output(layer).as_standard_layout().into_owned();
        if let Some(channel) = ablated {
            layout.zero_channel(&mut value, channel);
        }
        let values = value.as_slice().expect("in standard layout");
        self.run.feed(1, |to| to.copy_from_slice(values))?;
        Ok(self.run.output(layer + 1).iter().copied().collect())
    }
}
