//! Prediction: scores of a picture and its augmentations, as ranked classes.

use crate::deadline::Deadline;
use crate::report::timed;
use crate::view::View;
use crate::{Error, Manifest, Prediction, Task, Timings, Uncertainty};
use derm_gradcam::{Evaluation, Explainer};

/// What is predicted from.
pub(crate) struct PredictJob<'a> {
    pub(crate) manifest: &'a Manifest,
    pub(crate) view: View<'a>,
    /// How many of its augmentations are averaged, itself included.
    pub(crate) augmentations: usize,
    pub(crate) deadline: Deadline<'a>,
}

impl PredictJob<'_> {
    /// The mean probabilities, `[classes]`, and the evaluation of the picture itself, which
    /// `explainer` runs; `base` runs its augmentations.
    pub(crate) fn run<'e>(
        &self,
        base: &Explainer,
        explainer: &'e Explainer,
        timings: &mut Timings,
    ) -> Result<(Vec<f32>, Evaluation<'e>), Error> {
        let input = &self.manifest.input;
        let mut probabilities = vec![0.0; self.manifest.classes.len()];
        let mut add = |scores: &[f32]| {
            let found = self.manifest.probabilities(scores);
            probabilities.iter_mut().zip(found).for_each(|(sum, one)| *sum += one);
        };
        for number in 1..self.augmentations {
            self.deadline.check(Task::Prediction)?;
            let run = || base.run(|to| self.view.fill(number, input, to));
            add(&timed(&mut timings.infer, run)?.scores);
        }
        // The picture itself last: its evaluation keeps its memory until it is explained.
        let run = || explainer.run(|to| self.view.fill(0, input, to));
        let evaluation = timed(&mut timings.infer, run)?;
        add(&evaluation.scores);
        probabilities.iter_mut().for_each(|sum| *sum /= self.augmentations as f32);
        Ok((probabilities, evaluation))
    }
}

/// All classes, the most probable first.
pub(crate) fn ranked(probabilities: &[f32], manifest: &Manifest) -> Vec<Prediction> {
    let classes = probabilities.iter().zip(&manifest.classes).enumerate();
    let mut predictions: Vec<Prediction> = classes
        .map(|(index, (&probability, class))| Prediction {
            class: class.id.clone(),
            index,
            probability,
        })
        .collect();
    predictions.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    predictions
}

/// The class that the manifest's decision weights choose.
pub(crate) fn decision(
    predictions: &[Prediction],
    probabilities: &[f32],
    manifest: &Manifest,
) -> Option<Prediction> {
    let index = manifest.decision(probabilities)?;
    predictions.iter().find(|prediction| prediction.index == index).cloned()
}

/// The classes whose probability reaches their threshold.
pub(crate) fn flagged(predictions: &[Prediction], manifest: &Manifest) -> Vec<Prediction> {
    let threshold = |index: usize| manifest.classes[index].threshold;
    let reaches = |p: &&Prediction| threshold(p.index).is_some_and(|at| p.probability >= at);
    predictions.iter().filter(reaches).cloned().collect()
}

/// The out-of-distribution score and its threshold, where the model has one.
pub(crate) fn uncertainty(evaluation: &Evaluation<'_>, manifest: &Manifest) -> Option<Uncertainty> {
    let (uncertain, score) = manifest.uncertain.as_ref().zip(evaluation.ood_score)?;
    Some(Uncertainty { score, threshold: uncertain.threshold })
}
