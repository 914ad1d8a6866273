//! Classifier: a picture in, classes and heatmaps out.

use crate::deadline::{Clock, Deadline};
use crate::explain::ExplainJob;
use crate::lazy::Lazy;
use crate::loaded::{self, Loaded};
use crate::predict::{self, PredictJob};
use crate::report::timed;
use crate::{
    Cost, Error, Explain, ExplainError, Explanation, Footprint, LayerInfo, Limits, Manifest,
    ModelSource, Options, Picture, Reload, Report, Request, Size, Timings, augmentation, cost,
};
use derm_model::{EngineOptions, ThreadPool};
use derm_preprocess::Prepared;
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// A model that is loaded on first use, and everything from a picture's bytes to a [`Report`].
#[derive(Debug)]
pub struct Classifier {
    manifest: Manifest,
    limits: Limits,
    footprint: Arc<OnceLock<Footprint>>,
    loaded: Lazy<Loaded, derm_model::Error>,
    clock: Clock,
}

/// What [`Classifier::check`] found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Checked {
    /// How long loading took.
    pub load: Duration,
    /// How long one inference takes.
    pub infer: Duration,
    /// What the model takes.
    pub footprint: Footprint,
    /// Why there are no heatmaps, if there are none.
    pub unexplained: Option<ExplainError>,
    /// What a user should know of how the file was read: adaptations, and doubts about the
    /// manifest. One line each.
    pub notes: Vec<String>,
}

impl Classifier {
    /// Reads and checks the manifest, and looks whether the model's files are there and whole; the
    /// model itself is loaded by the first use.
    ///
    /// # Errors
    /// [`Error::Model`].
    pub fn new(source: ModelSource, options: Options) -> Result<Classifier, Error> {
        let manifest = source.manifest()?;
        source.check_files()?;
        let engine = EngineOptions {
            precision: options.weights,
            threads: ThreadPool::new(options.intra_op_threads.get()),
            ..EngineOptions::default()
        };
        let footprint = Arc::new(OnceLock::new());
        let known = Arc::clone(&footprint);
        let load = move || {
            let loaded = Loaded::load(&source, &engine)?;
            known.get_or_init(|| loaded.footprint());
            Ok(loaded)
        };
        let uses = move || options.reload.map(Reload::draw);
        let loaded = Lazy::new(load, uses);
        Ok(Classifier { manifest, limits: options.limits, footprint, loaded, clock: Instant::now })
    }

    /// The model's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether the model is in memory.
    pub fn is_loaded(&self) -> bool {
        self.loaded.is_loaded()
    }

    /// How often the model was loaded.
    pub fn times_loaded(&self) -> u64 {
        self.loaded.times_made()
    }

    /// Drops the model, now or when its last user is done.
    pub fn unload(&self) {
        self.loaded.unload();
    }

    /// Drops the model if it was not used for `idle`; returns whether it did.
    pub fn unload_if_idle(&self, idle: Duration) -> bool {
        self.loaded.unload_if_idle(idle)
    }

    /// Drops the arenas and plans that are kept for a next prediction or explanation.
    pub fn release_arenas(&self) {
        self.loaded.peek(Loaded::release_idle);
    }

    /// Returns all memory that is only kept for a next prediction to the system: arenas, the heap's
    /// free pages, code. Call it when no prediction is expected soon.
    pub fn release_idle(&self) {
        self.release_arenas();
        loaded::release_unused();
    }

    /// What the model takes; known once it was loaded, also after it was unloaded again.
    pub fn footprint(&self) -> Option<Footprint> {
        self.footprint.get().copied()
    }

    /// Bytes of the arenas that are kept for a next prediction.
    pub fn idle_bytes(&self) -> usize {
        self.loaded.peek(Loaded::idle_bytes).unwrap_or(0)
    }

    /// The layers that can be explained, in order of computation. Loads the model if need be.
    ///
    /// # Errors
    /// [`Error::Model`], [`Error::TimedOut`].
    pub fn layers(&self, deadline: Instant) -> Result<Vec<LayerInfo>, Error> {
        Ok(self.loaded.acquire(deadline)?.layers().to_vec())
    }

    /// Loads the model and runs it once, on an input of zeros.
    ///
    /// # Errors
    /// [`Error::Model`], also where its scores are not what the manifest says.
    pub fn check(&self) -> Result<Checked, Error> {
        let start = Instant::now();
        let loaded = self.loaded.acquire(start + Duration::from_secs(3600))?;
        let load = start.elapsed();
        let start = Instant::now();
        let base = loaded.base();
        let scores = base.run(|input| input.fill(0.0))?.scores.clone();
        if let Some(reason) = self.manifest.contradiction(&scores) {
            return Err(derm_model::Error::Mismatch(reason).into());
        }
        let infer = start.elapsed();
        let (footprint, unexplained) = (loaded.footprint(), base.why_not().cloned());
        let notes = loaded.notes().to_vec();
        Ok(Checked { load, infer, footprint, unexplained, notes })
    }

    /// Opens a picture, from `&[u8]` or `Vec<u8>`: one that owns its bytes can move to another thread.
    ///
    /// # Errors
    /// [`Error::Picture`]: it is beyond the [`Limits`], or its header is damaged or not one that is
    /// read.
    pub fn open<'a>(&self, bytes: impl Into<Cow<'a, [u8]>>) -> Result<Picture<'a>, Error> {
        Ok(Picture::open(bytes, &self.limits)?)
    }

    /// Memory that [`Classifier::classify`] will take, as the picture's header tells. Nothing is
    /// decoded.
    ///
    /// # Errors
    /// [`Error::Picture`]: it takes more than [`Limits::max_memory`].
    pub fn cost(&self, picture: &Picture<'_>, request: &Request) -> Result<Cost, Error> {
        let explain = request.explain.as_ref();
        let arenas = self.footprint().zip(self.explanation_bytes(explain));
        let arenas = arenas.map(|(model, explanation)| (model.arena + explanation) as u64);
        Ok(Cost { picture: cost::of_picture(picture, &self.manifest, explain)?, arenas })
    }

    /// Bytes that an explanation takes beside the arena of the prediction: 0 where it needs no plan
    /// of its own; `None` before that plan was made once.
    fn explanation_bytes(&self, explain: Option<&Explain>) -> Option<usize> {
        let Some(explain) = explain.filter(|explain| Loaded::needs_own_plan(explain)) else {
            return Some(0);
        };
        let plan = self.loaded.peek(|loaded| loaded.explanation_bytes(explain)).flatten()?;
        Some(plan + cost::of_pixel_maps(&self.manifest))
    }

    /// Classifies a picture, and explains the result if the request asks for that.
    ///
    /// # Errors
    /// Every [`Error`]. [`Error::TimedOut`]: `deadline` passed before the model was ready;
    /// [`Error::TimeLimit`]: it passed between two inferences. An inference is not interrupted.
    pub fn classify(
        &self,
        picture: &Picture<'_>,
        request: &Request,
        deadline: Instant,
    ) -> Result<Report, Error> {
        let mut timings = Timings::default();
        let deadline = Deadline { at: deadline, clock: self.clock };
        let (manifest, input) = (&self.manifest, &self.manifest.input);
        let explain = request.explain.as_ref();
        let classes = explain.map_or(Ok(Vec::new()), |explain| explain.class_indices(manifest))?;
        let augmentations = augmentation::checked(request.tta, input, "tta")?;
        let smooth = explain.map_or(1, |explain| explain.smooth);
        let smooth = augmentation::checked(smooth, input, "smooth")?;
        if deadline.has_passed() {
            return Err(Error::TimedOut);
        }
        let on_upload = explain.is_some_and(|explain| explain.size == Size::Upload);
        let (prepared, upload) = timed(&mut timings.decode, || {
            if on_upload {
                return picture.prepare_with_upload(input).map(|(view, all)| (view, Some(all)));
            }
            picture.prepare(input).map(|view| (view, None))
        })?;
        let Prepared { view, region, full_size: size, warnings, .. } = prepared;
        let loaded = timed(&mut timings.load, || self.loaded.acquire(deadline.at))?;
        let explainer = timed(&mut timings.load, || loaded.explainer_for(explain))?;

        let job = PredictJob { manifest, view: &view, augmentations, deadline };
        let predicting = explainer.as_deref().unwrap_or(loaded.base());
        let (probabilities, evaluation) = job.run(loaded.base(), predicting, &mut timings)?;
        let uncertain = predict::uncertainty(&evaluation, manifest);
        let mut predictions = predict::ranked(&probabilities, manifest);
        let explanations = match (explain, &explainer) {
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
                    view: &view,
                    upload,
                    region,
                    deadline,
                };
                Some(job.run(evaluation, &mut timings)?)
            }
        };
        let flagged = predict::flagged(&predictions, manifest);
        predictions.truncate(request.top_k.unwrap_or(usize::MAX));
        Ok(Report {
            predictions,
            flagged,
            uncertain,
            explanations,
            size,
            region,
            warnings,
            timings,
        })
    }

    /// Explains a picture: one explanation for each class that `explain` names, or that of the most
    /// probable class.
    ///
    /// ```
    /// use derm::{Classifier, Drawing, Explain, Method, ModelSource, Options};
    /// use std::time::{Duration, Instant};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = derm_zoo::entry("mobilenetv2.opset13").unwrap().make(&derm_zoo::folder())?;
    /// let classifier = Classifier::new(ModelSource::at(&folder), Options::default())?;
    /// # let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../derm-preprocess/tests/data");
    /// let picture = classifier.open(std::fs::read(format!("{data}/baseline.jpg"))?)?;
    /// let explain =
    ///     Explain::new(Method::LayerCam).with_classes(["c1", "c4"]).with_drawing(Drawing::Json);
    /// let explanations =
    ///     classifier.explain(&picture, explain, Instant::now() + Duration::from_secs(600))?;
    /// // 0..=1, [rows, columns] of the last feature map.
    /// let values = explanations[1].heatmap.values();
    /// assert_eq!((explanations[1].class.as_str(), values.dim()), ("c4", (7, 7)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Classifier::classify`], and [`Error::Unexplained`].
    pub fn explain(
        &self,
        picture: &Picture<'_>,
        explain: Explain,
        deadline: Instant,
    ) -> Result<Vec<Explanation>, Error> {
        let report = self.classify(picture, &Request::default().with_explain(explain), deadline)?;
        report.explanations.unwrap_or_else(|| Ok(Vec::new())).map_err(Error::Unexplained)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Method, Task};
    use std::cell::Cell;

    thread_local! {
        /// How often this thread's clock may be asked before the deadline passes.
        static IN_TIME: Cell<usize> = const { Cell::new(0) };
    }

    const LONG: Duration = Duration::from_secs(100_000);

    /// A clock that jumps beyond every deadline when it was asked often enough.
    fn clock() -> Instant {
        let left = IN_TIME.get();
        IN_TIME.set(left.saturating_sub(1));
        if left > 0 { Instant::now() } else { Instant::now() + 2 * LONG }
    }

    /// The error of a request whose deadline passes after the clock was asked `in_time` times.
    fn late(classifier: &Classifier, request: &Request, in_time: usize) -> Error {
        IN_TIME.set(in_time);
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../derm-preprocess/tests/data");
        let bytes = std::fs::read(format!("{data}/baseline.jpg")).unwrap();
        let picture = classifier.open(bytes).unwrap();
        classifier.classify(&picture, request, Instant::now() + LONG).unwrap_err()
    }

    #[test]
    fn work_beyond_the_deadline_is_told_apart_from_waiting() {
        let folder = derm_zoo::entry("mobilenetv2.opset13").unwrap().make(&derm_zoo::folder());
        let source = ModelSource::at(folder.unwrap());
        let mut classifier = Classifier::new(source, Options::default()).unwrap();
        classifier.clock = clock;
        let explaining = |method| Request::default().with_explain(Explain::new(method));
        let cam = explaining(Method::GradCam);
        assert!(matches!(late(&classifier, &cam, 0), Error::TimedOut));
        assert!(!classifier.is_loaded());

        let error = late(&classifier, &cam, 1);
        assert!(matches!(error, Error::TimeLimit(Task::Explanation)), "{error}");
        // The runs of a slow method are interrupted between two.
        let error = late(&classifier, &explaining(Method::ScoreCam), 4);
        assert!(matches!(error, Error::TimeLimit(Task::Explanation)), "{error}");
        let error = late(&classifier, &Request::default().with_tta(8), 3);
        assert!(matches!(error, Error::TimeLimit(Task::Prediction)), "{error}");
    }
}
