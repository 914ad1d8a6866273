//! Classifying by one model: its input prepared, the inference, and the explanation.

use crate::deadline::Deadline;
use crate::explain::ExplainJob;
use crate::predict::{self, PredictJob};
use crate::report::timed;
use crate::served::Served;
use crate::view::{TensorView, View};
use crate::{Error, Picture, Region, Report, Request, Size, Timings, Warning, augmentation};
use derm_preprocess::{Prepared, RgbImage};
use std::sync::Arc;

/// [`Classifier::classify`](crate::Classifier::classify) by one model.
pub(crate) fn classify(
    served: &Served,
    picture: &Picture<'_>,
    request: &Request,
    deadline: Deadline<'_>,
) -> Result<Report, Error> {
    let mut timings = Timings::default();
    let input = &served.manifest().input;
    let work = Work::new(served, request, deadline)?;
    let on_upload = request.explain.as_ref().is_some_and(|explain| explain.size == Size::Upload);
    let (prepared, upload) = timed(&mut timings.decode, || {
        if on_upload {
            return picture.prepare_with_upload(input).map(|(view, all)| (view, Some(all)));
        }
        picture.prepare(input).map(|view| (view, None))
    })?;
    let Prepared { view, region, full_size: size, warnings, .. } = prepared;
    work.run(Seen { source: Source::Pixels(&view), upload, region, size, warnings }, timings)
}

/// [`Classifier::classify_tensor`](crate::Classifier::classify_tensor) by one model.
pub(crate) fn classify_tensor(
    served: &Served,
    values: &[f32],
    request: &Request,
    deadline: Deadline<'_>,
) -> Result<Report, Error> {
    let work = Work::new(served, request, deadline)?;
    for (name, count) in [("tta", work.augmentations), ("smooth", work.smooth)] {
        if count > 1 {
            let reason = "a tensor has no flips and rotations; send a picture".to_owned();
            return Err(Error::Parameter { name, reason });
        }
    }
    let input = &served.manifest().input;
    let whole = Region { left: 0.0, top: 0.0, width: 1.0, height: 1.0 };
    let size = (input.width, input.height);
    let source = Source::Tensor(values);
    let seen = Seen { source, upload: None, region: whole, size, warnings: Vec::new() };
    work.run(seen, Timings::default())
}

/// What is asked of a model, checked before anything is decoded.
struct Work<'a> {
    served: &'a Served,
    request: &'a Request,
    deadline: Deadline<'a>,
    /// Indices of the classes that the request names.
    classes: Vec<usize>,
    augmentations: usize,
    smooth: usize,
}

/// What the network is to see, and where it comes from.
struct Seen<'a> {
    source: Source<'a>,
    /// The whole picture, if heatmaps are drawn on it.
    upload: Option<RgbImage>,
    region: Region,
    size: (u32, u32),
    warnings: Vec<Warning>,
}

enum Source<'a> {
    Pixels(&'a RgbImage),
    Tensor(&'a [f32]),
}

impl<'a> Work<'a> {
    fn new(
        served: &'a Served,
        request: &'a Request,
        deadline: Deadline<'a>,
    ) -> Result<Work<'a>, Error> {
        let (manifest, input) = (served.manifest(), &served.manifest().input);
        let described = request.described();
        let classes =
            described.map_or(Ok(Vec::new()), |explain| explain.class_indices(manifest))?;
        let augmentations = augmentation::checked(request.tta, input, "tta")?;
        let smooth = described.map_or(1, |explain| explain.smooth);
        let smooth = augmentation::checked(smooth, input, "smooth")?;
        deadline.check_begun()?;
        Ok(Work { served, request, deadline, classes, augmentations, smooth })
    }

    /// Loads the model if need be, predicts and explains.
    fn run(self, seen: Seen<'_>, mut timings: Timings) -> Result<Report, Error> {
        let Work { served, request, deadline, classes, augmentations, smooth } = self;
        let Seen { source, upload, region, size, warnings } = seen;
        let (manifest, explain) = (served.manifest(), request.explain.as_ref());
        let loaded = timed(&mut timings.load, || served.acquire(deadline.at))?;
        if let Some(error) = request.declined.as_ref().and_then(|explain| loaded.refusal(explain)) {
            return Err(error);
        }
        let explainer = timed(&mut timings.load, || loaded.explainer_for(explain))?;
        let view = match source {
            Source::Pixels(pixels) => View::Pixels(pixels),
            Source::Tensor(values) => {
                View::Tensor(TensorView::new(values, loaded.input(), &manifest.input)?)
            }
        };

        let job = PredictJob { manifest, view, augmentations, deadline };
        let predicting = explainer.as_deref().unwrap_or(loaded.base());
        let (probabilities, evaluation) = job.run(loaded.base(), predicting, &mut timings)?;
        let uncertain = predict::uncertainty(&evaluation, manifest);
        let scores = evaluation.scores.clone();
        let mut predictions = predict::ranked(&probabilities, manifest);
        let explained = match (explain, &explainer) {
            (None, _) => None,
            (Some(_), Err(reason)) => Some(Err(reason.clone())),
            (Some(explain), Ok(explainer)) => {
                let classes = if classes.is_empty() { vec![predictions[0].index] } else { classes };
                let job = ExplainJob {
                    manifest,
                    explainer,
                    explain,
                    classes: &classes,
                    augmentations: smooth,
                    view,
                    upload,
                    region,
                    deadline,
                };
                Some(job.run(evaluation, &mut timings)?)
            }
        };
        let (explanations, canvas) = match explained {
            None => (None, None),
            Some(Err(reason)) => (Some(Err(reason)), None),
            Some(Ok(explained)) => (Some(Ok(explained.explanations)), explained.canvas),
        };
        let decision = predict::decision(&predictions, &probabilities, manifest);
        let flagged = predict::flagged(&predictions, manifest);
        predictions.truncate(request.top_k.unwrap_or(usize::MAX));
        Ok(Report {
            predictions,
            decision,
            flagged,
            scores,
            uncertain,
            explanations,
            canvas,
            size,
            region,
            warnings,
            manifest: Arc::clone(manifest),
            digest: loaded.digest(),
            timings,
        })
    }
}
