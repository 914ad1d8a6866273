//! Explanation: a heatmap for each class, and its rendering.

use crate::deadline::Deadline;
use crate::drawing::{self, Canvas};
use crate::report::timed;
use crate::view::View;
use crate::{Error, Explain, Explanation, Manifest, Region, Task, Timings, augmentation};
use derm_gradcam::{Error as ExplainError, Evaluation, Explainer, Heatmap};
use derm_preprocess::RgbImage;
use std::borrow::Cow;

/// What is explained, and how.
pub(crate) struct ExplainJob<'a> {
    pub(crate) manifest: &'a Manifest,
    pub(crate) explainer: &'a Explainer,
    pub(crate) explain: &'a Explain,
    /// Numbers of the classes.
    pub(crate) classes: &'a [usize],
    /// How many augmentations are averaged, the picture itself included.
    pub(crate) augmentations: usize,
    pub(crate) view: View<'a>,
    /// The whole picture, upright, if heatmaps are drawn on it, and the part that the network sees.
    pub(crate) upload: Option<RgbImage>,
    pub(crate) region: Region,
    pub(crate) deadline: Deadline<'a>,
}

/// What comes of it.
pub(crate) struct Explained {
    /// One for each class.
    pub(crate) explanations: Vec<Explanation>,
    /// [`Report::canvas`](crate::Report::canvas).
    pub(crate) canvas: Option<Canvas<'static>>,
}

impl ExplainJob<'_> {
    /// The explanations, and what they are drawn on where that is to be kept; the inner error says why
    /// the model has none. `evaluation` is that of the picture itself.
    pub(crate) fn run(
        mut self,
        evaluation: Evaluation<'_>,
        timings: &mut Timings,
    ) -> Result<Result<Explained, ExplainError>, Error> {
        let heatmaps = match timed(&mut timings.gradcam, || self.heatmaps(evaluation)) {
            Ok(heatmaps) => heatmaps,
            Err(ExplainError::Stopped) => {
                return Err(self.deadline.passed_during(Task::Explanation));
            }
            Err(error) => return Ok(Err(error)),
        };
        let canvas = match self.upload.take() {
            Some(upload) => Some(Canvas::upload(upload, self.region)),
            None => self.view.pixels().map(|view| Canvas::input(Cow::Borrowed(view))),
        };
        let rendered = |(heatmap, &class): (Heatmap, &usize)| {
            let render = || drawing::rendered(&heatmap, canvas.as_ref(), self.explain);
            let rendering = timed(&mut timings.render, render);
            Explanation { class: self.manifest.classes[class].id.clone(), heatmap, rendering }
        };
        let explanations = heatmaps.into_iter().zip(self.classes).map(rendered).collect();
        let canvas = canvas.filter(|_| self.explain.keep_canvas).map(Canvas::into_owned);
        Ok(Ok(Explained { explanations, canvas }))
    }

    /// A heatmap for each class: the mean over the augmentations.
    fn heatmaps(&self, evaluation: Evaluation<'_>) -> Result<Vec<Heatmap>, ExplainError> {
        let input = &self.manifest.input;
        let mut watch = |_, _| !self.deadline.has_passed();
        let mut evaluation = Some(evaluation);
        let mut by_class: Vec<Vec<Heatmap>> = vec![Vec::new(); self.classes.len()];
        for number in 0..self.augmentations {
            let fill = |to: &mut [f32]| self.view.fill(number, input, to);
            if !watch(number, self.augmentations) {
                return Err(ExplainError::Stopped);
            }
            let mut evaluation = match evaluation.take() {
                Some(first) => first,
                None => self.explainer.run(fill)?,
            };
            let found = evaluation.explain(self.explain.method, self.classes, &fill, &mut watch)?;
            for (heatmaps, heatmap) in by_class.iter_mut().zip(found) {
                let heatmap = heatmap.with_scale(self.explain.scale);
                heatmaps.push(heatmap.moved(|values| augmentation::undone(values, number)));
            }
        }
        Ok(by_class.iter().filter_map(|heatmaps| Heatmap::mean(heatmaps)).collect())
    }
}
