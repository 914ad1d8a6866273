//! The four crates composed.

use crate::drawing::{self, Canvas};
use crate::{
    Error, Explain, Explanation, Layer, Limits, Manifest, ModelSource, Prediction, Region, Report,
    Request, Size, Timings, Uncertainty, views,
};
use derm_gradcam::{
    Evaluation, ExplainRequest, Explainer, ExplainerRef, Explainers, Heatmap, LayerInfo,
};
use derm_model::{Graph, Lazy, Precision, EngineOptions, ThreadPool};
use derm_preprocess::{Picture, RgbImage};
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How a [`Classifier`] behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// What a picture may cost.
    pub limits: Limits,
    /// Threads inside one inference.
    pub threads: NonZeroUsize,
    /// How weights are kept in memory; none: as they are in the file.
    pub weights: Option<Precision>,
    /// When the model is dropped and loaded afresh.
    pub reload: Option<Reload>,
}

impl Default for Options {
    /// Default limits, one thread, no reload.
    fn default() -> Self {
        Options {
            limits: Limits::default(),
            threads: NonZeroUsize::MIN,
            weights: None,
            reload: None,
        }
    }
}

/// After how many uses a model is loaded afresh: `uses`, give or take up to `jitter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reload {
    /// Predictions from one load to the next.
    pub uses: NonZeroUsize,
    /// So that several instances do not all load at once.
    pub jitter: usize,
}

impl Reload {
    fn draw(self) -> u64 {
        let (uses, jitter) = (self.uses.get(), self.jitter.min(self.uses.get() - 1));
        fastrand::usize(uses - jitter..=uses + jitter) as u64
    }
}

/// A model that is loaded on first use, and everything from a picture's bytes to a [`Report`].
#[derive(Debug)]
pub struct Classifier {
    manifest: Manifest,
    limits: Limits,
    footprint: Arc<OnceLock<Footprint>>,
    loaded: Lazy<Loaded, derm_model::Error>,
}

/// A loaded model; when it goes, its memory goes back to the system.
#[derive(Debug)]
struct Loaded {
    explainers: Explainers,
    // Fields are dropped in order: this one after the model.
    _release: ReleaseOnDrop,
}

#[derive(Debug)]
struct ReleaseOnDrop;

impl Drop for ReleaseOnDrop {
    fn drop(&mut self) {
        release();
    }
}

/// Gives back what nobody uses now: the heap's free pages, and code that has done its work.
fn release() {
    derm_memstat::release_freed();
    derm_memstat::release_file_pages();
}

/// What a model takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// The packed weights.
    pub weights: usize,
    /// What one inference takes at most.
    pub arena: usize,
}

impl Footprint {
    fn of(explainers: &Explainers) -> Footprint {
        let plan = explainers.base().plan();
        Footprint { weights: plan.weight_bytes(), arena: plan.arena_bytes() }
    }
}

/// What [`Classifier::check`] found out.
#[derive(Debug, Clone)]
pub struct Checked {
    /// How long loading took.
    pub load: Duration,
    /// How long one inference takes.
    pub infer: Duration,
    /// What the model takes.
    pub footprint: Footprint,
    /// Why there are no heatmaps, if there are none.
    pub unexplained: Option<String>,
}

impl Classifier {
    /// Reads and checks the manifest; the model itself is loaded by the first use.
    ///
    /// # Errors
    /// [`Error::Model`].
    pub fn new(source: ModelSource, options: Options) -> Result<Classifier, Error> {
        let manifest = source.manifest()?;
        let settings = EngineOptions {
            precision: options.weights,
            threads: ThreadPool::new(options.threads.get()),
            ..EngineOptions::default()
        };
        let footprint = Arc::new(OnceLock::new());
        let load = {
            let source = source.clone();
            let known = Arc::clone(&footprint);
            move || {
                let graph = Graph::load(&source)?;
                // Half of the loader's code has done its work before the weights come.
                derm_memstat::release_file_pages();
                let explainers = Explainers::new(source.clone(), graph, settings.clone())?;
                // What only loading needed: the graph, and the code that made it.
                release();
                known.get_or_init(|| Footprint::of(&explainers));
                Ok(Loaded { explainers, _release: ReleaseOnDrop })
            }
        };
        let uses = move || options.reload.map(Reload::draw);
        let loaded = Lazy::new(load, uses);
        Ok(Classifier { manifest, limits: options.limits, footprint, loaded })
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

    /// Drops the model if it was not used for `idle`; tells whether it did.
    pub fn unload_if_idle(&self, idle: Duration) -> bool {
        self.loaded.unload_if_idle(idle)
    }

    /// Gives the arenas and plans back that are kept for a next prediction or explanation.
    pub fn release_arenas(&self) {
        self.loaded.peek(|loaded| loaded.explainers.release_idle());
    }

    /// Gives back all that is only kept for a next prediction: arenas, the heap's free pages, code.
    /// Call it when no prediction is expected soon.
    pub fn release_idle(&self) {
        self.release_arenas();
        release();
    }

    /// What the model takes; known once it has been loaded, also after it was unloaded again.
    pub fn footprint(&self) -> Option<Footprint> {
        self.footprint.get().copied()
    }

    /// Bytes of the arenas that are kept for a next prediction.
    pub fn idle_bytes(&self) -> usize {
        self.loaded.peek(|loaded| loaded.explainers.base().plan().idle_bytes()).unwrap_or(0)
    }

    /// Bytes that classifying this picture will hold at once beside its own bytes and the model's
    /// arena, as the picture's header tells. Nothing is decoded.
    ///
    /// # Errors
    /// [`Error::Picture`], but for damage that only decoding finds.
    pub fn memory_needed(&self, bytes: &[u8], request: &Request) -> Result<u64, Error> {
        let spec = &self.manifest.input;
        let picture = Picture::open(bytes, &self.limits)?;
        // Decoding is over when the heatmaps are drawn.
        let explain = request.explain.as_ref();
        let (prepared, drawn) = match explain.map_or(Size::Input, |explain| explain.size) {
            Size::Input => (picture.cost(spec)?, drawing::memory((spec.width, spec.height))),
            Size::Upload => (picture.cost_with_upload(spec)?, drawing::memory(picture.size())),
        };
        let prepared = prepared.memory;
        let count = explain.map_or(1, |explain| explain.classes.len().max(1)) as u64;
        Ok(prepared.max(drawn * count))
    }

    /// Bytes that the explanation takes beside the model's arena while it is made: none where it
    /// comes with the prediction; `None` where that is not known before it was made once.
    pub fn explanation_memory(&self, request: &Request) -> Option<usize> {
        let Some(explain) = &request.explain else { return Some(0) };
        let wanted = ExplainRequest { method: explain.method, layer: explain.layer.clone() };
        if !wanted.needs_own_plan() {
            return Some(0);
        }
        let arena = self.loaded.peek(|loaded| {
            let layer = numbered(&wanted.layer, loaded.explainers.layers());
            loaded.explainers.cost(&ExplainRequest { layer: layer.ok()?, ..wanted })
        });
        // And the heatmaps of a method that judges pixels, in float32, several times.
        let pixels = self.manifest.input.width as usize * self.manifest.input.height as usize;
        Some(arena.flatten()? + 64 * pixels)
    }

    /// The layers that can be explained, in order of computation. Loads the model if need be.
    ///
    /// # Errors
    /// [`Error::Model`], [`Error::TimedOut`].
    pub fn layers(&self, deadline: Instant) -> Result<Vec<LayerInfo>, Error> {
        Ok(self.loaded.acquire(deadline)?.explainers.layers().to_vec())
    }

    /// Loads the model and runs it once, on an input of zeros.
    ///
    /// # Errors
    /// [`Error::Model`].
    pub fn check(&self) -> Result<Checked, Error> {
        let start = Instant::now();
        let loaded = self.loaded.acquire(start + Duration::from_secs(3600))?;
        let load = start.elapsed();
        let start = Instant::now();
        let base = loaded.explainers.base();
        base.run(|input| input.fill(0.0))?;
        let unexplained = base.why_not().map(ToString::to_string);
        let footprint = Footprint::of(&loaded.explainers);
        Ok(Checked { load, infer: start.elapsed(), footprint, unexplained })
    }

    /// Classifies the picture in `bytes`. Waits at most until `deadline` for the model; what has
    /// begun is finished.
    ///
    /// # Errors
    /// Every [`Error`].
    pub fn classify(
        &self,
        bytes: &[u8],
        request: &Request,
        deadline: Instant,
    ) -> Result<Report, Error> {
        let mut timings = Timings::default();
        let classes = self.classes_to_explain(request)?;
        let turns = self.views(request.tta, "tta")?;
        let smooth = request.explain.as_ref().map_or(1, |explain| explain.smooth);
        let views = self.views(smooth, "smooth")?;
        if Instant::now() >= deadline {
            return Err(Error::TimedOut);
        }
        let spec = &self.manifest.input;
        let limits = Limits { deadline: Some(deadline), ..self.limits };
        let wants_upload = request.explain.as_ref().is_some_and(|e| e.size == Size::Upload);
        let (prepared, upload) = timed(&mut timings.decode, || {
            let picture = Picture::open(bytes, &limits)?;
            if wants_upload {
                return picture.prepare_with_upload(spec).map(|(view, all)| (view, Some(all)));
            }
            picture.prepare(spec).map(|view| (view, None))
        })?;
        let (view, region, size) = (prepared.view, prepared.region, prepared.full_size);

        let loaded = timed(&mut timings.load, || self.loaded.acquire(deadline))?;
        let explainers = &loaded.explainers;
        let base = explainers.base();
        let using = timed(&mut timings.load, || self.explainer_for(explainers, request))?;
        let predicting = using.as_ref().map_or(base, |using| using);
        // The picture itself last: its evaluation keeps its memory until it is explained.
        let mut probabilities = vec![0.0; self.manifest.classes.len()];
        let mut add = |scores: &[f32]| {
            let found = self.manifest.probabilities(scores);
            probabilities.iter_mut().zip(found).for_each(|(sum, one)| *sum += one);
        };
        for number in 1..turns {
            if Instant::now() >= deadline {
                return Err(Error::TimedOut);
            }
            let turned = timed(&mut timings.decode, || views::view(&view, number));
            let run = || base.run(|input| spec.normalise(&turned, input));
            add(&timed(&mut timings.infer, run)?.scores);
        }
        let run = || predicting.run(|input| spec.normalise(&view, input));
        let evaluation = timed(&mut timings.infer, run)?;
        add(&evaluation.scores);
        probabilities.iter_mut().for_each(|sum| *sum /= turns as f32);
        let predictions = self.predictions(&probabilities);
        let uncertain = self.manifest.uncertain.as_ref().zip(evaluation.ood_score);
        let uncertain =
            uncertain.map(|(known, score)| Uncertainty { score, threshold: known.threshold });

        let explanations = match (&request.explain, &using) {
            (None, _) => None,
            (Some(_), Err(reason)) => Some(Err(reason.clone())),
            (Some(explain), Ok(explainer)) => {
                let classes = if classes.is_empty() { vec![predictions[0].index] } else { classes };
                let (classes, view) = (&classes[..], &view);
                let work =
                    Work { explainer, explain, classes, view, views, upload, region, deadline };
                Some(self.explained(work, evaluation, &mut timings)?)
            }
        };
        let flagged = self.flagged(&predictions);
        let keep = request.top_k.unwrap_or(usize::MAX);
        let predictions = predictions.into_iter().take(keep).collect();
        Ok(Report { predictions, flagged, uncertain, explanations, size, region, timings })
    }

    /// Explains the picture in `bytes`: one explanation for each class that `explain` names, or that
    /// of the most probable class.
    ///
    /// ```
    /// use derm::{Classifier, Drawing, Explain, Method, Options};
    /// use std::time::{Duration, Instant};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = derm_zoo::entry("mobilenetv2.opset13").unwrap().make(&derm_zoo::folder())?;
    /// let classifier = Classifier::new(derm::ModelSource::at(&folder), Options::default())?;
    /// # let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../derm-preprocess/tests/data");
    /// let picture = std::fs::read(format!("{data}/baseline.jpg"))?;
    /// let explain = Explain {
    ///     method: Method::LayerCam,
    ///     classes: vec!["c1".to_owned(), "c4".to_owned()],
    ///     drawing: Drawing::Json,
    ///     ..Explain::default()
    /// };
    /// let explanations =
    ///     classifier.explain(&picture, explain, Instant::now() + Duration::from_secs(60))?;
    /// // 0..=1, rows and columns of the last feature map.
    /// let places = explanations[1].heatmap.values();
    /// assert_eq!((explanations[1].class.as_str(), places.dim()), ("c4", (7, 7)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Classifier::classify`], and [`Error::Unexplained`].
    pub fn explain(
        &self,
        bytes: &[u8],
        explain: Explain,
        deadline: Instant,
    ) -> Result<Vec<Explanation>, Error> {
        let request = Request { explain: Some(explain), ..Request::default() };
        let report = self.classify(bytes, &request, deadline)?;
        report.explanations.unwrap_or_else(|| Ok(Vec::new())).map_err(Error::Unexplained)
    }

    /// The explainer that the request needs, or why the model has none: then it only predicts.
    fn explainer_for<'a>(
        &self,
        explainers: &'a Explainers,
        request: &Request,
    ) -> Result<Result<ExplainerRef<'a>, String>, Error> {
        let Some(explain) = &request.explain else {
            return Ok(Ok(ExplainerRef::Base(explainers.base())));
        };
        let found = numbered(&explain.layer, explainers.layers()).and_then(|layer| {
            let wanted = ExplainRequest { method: explain.method, layer };
            let is_made = explainers.is_ready(&wanted);
            let found = explainers.for_explaining(&wanted);
            if !is_made {
                // What only making the plan needed.
                release();
            }
            found
        });
        match found {
            Err(
                error @ (derm_gradcam::Error::NoSuchLayer(_)
                | derm_gradcam::Error::UnsuitableLayer(..)),
            ) => Err(Error::Parameter { name: "layer", reason: error.to_string() }),
            found => Ok(found.map_err(|error| error.to_string())),
        }
    }

    /// The explanations, or why the model has none.
    fn explained(
        &self,
        mut work: Work<'_>,
        evaluation: Evaluation<'_>,
        timings: &mut Timings,
    ) -> Result<Result<Vec<Explanation>, String>, Error> {
        let heatmaps = match timed(&mut timings.gradcam, || self.heatmaps(&work, evaluation)) {
            Ok(heatmaps) => heatmaps,
            Err(derm_gradcam::Error::Stopped) => return Err(Error::TimedOut),
            Err(error) => return Ok(Err(error.to_string())),
        };
        let canvas = match work.upload.take() {
            Some(upload) => Canvas::upload(upload, work.region),
            None => Canvas::input(work.view),
        };
        let drawn = |(heatmap, &class): (Heatmap, &usize)| {
            let bytes = timed(&mut timings.render, || canvas.draw(&heatmap, work.explain));
            Explanation { class: self.manifest.classes[class].id.clone(), heatmap, bytes }
        };
        Ok(Ok(heatmaps.into_iter().zip(work.classes).map(drawn).collect()))
    }

    /// A heatmap for each class: the mean over the views.
    fn heatmaps(
        &self,
        work: &Work<'_>,
        evaluation: Evaluation<'_>,
    ) -> Result<Vec<Heatmap>, derm_gradcam::Error> {
        let spec = &self.manifest.input;
        let mut watch = |_, _| Instant::now() < work.deadline;
        let mut evaluation = Some(evaluation);
        let mut by_class: Vec<Vec<Heatmap>> = vec![Vec::new(); work.classes.len()];
        for number in 0..work.views {
            let turned = views::view(work.view, number);
            let fill = |input: &mut [f32]| spec.normalise(&turned, input);
            if !watch(number, work.views) {
                return Err(derm_gradcam::Error::Stopped);
            }
            let mut evaluation = match evaluation.take() {
                Some(first) => first,
                None => work.explainer.run(fill)?,
            };
            let method = work.explain.method;
            let found = evaluation.explain(method, work.classes, &fill, &mut watch)?;
            for (heatmaps, heatmap) in by_class.iter_mut().zip(found) {
                heatmaps.push(Heatmap::from_map(views::back(heatmap.values(), number)));
            }
        }
        Ok(by_class.iter().filter_map(|heatmaps| Heatmap::mean(heatmaps)).collect())
    }

    /// The classes that reach their threshold.
    fn flagged(&self, predictions: &[Prediction]) -> Vec<Prediction> {
        let threshold = |index: usize| self.manifest.classes[index].threshold;
        let reaches = |p: &&Prediction| threshold(p.index).is_some_and(|at| p.probability >= at);
        predictions.iter().filter(reaches).cloned().collect()
    }

    /// How many views of the picture a request may want.
    fn views(&self, wanted: usize, name: &'static str) -> Result<usize, Error> {
        let most = views::count(self.manifest.input.width, self.manifest.input.height);
        if wanted > most {
            let reason = format!("the network's input has {most} flips and turns");
            return Err(Error::Parameter { name, reason });
        }
        Ok(wanted.max(1))
    }

    /// Numbers of the classes that the request names.
    fn classes_to_explain(&self, request: &Request) -> Result<Vec<usize>, Error> {
        let named = request.explain.iter().flat_map(|explain| &explain.classes);
        let number = |name: &String| {
            self.manifest.class_index(name).ok_or_else(|| {
                let known: Vec<&str> =
                    self.manifest.classes.iter().take(20).map(|class| class.id.as_str()).collect();
                let reason =
                    format!("the model has no class {name:?}; it has {}", known.join(", "));
                Error::Parameter { name: "class", reason }
            })
        };
        named.map(number).collect()
    }

    fn predictions(&self, probabilities: &[f32]) -> Vec<Prediction> {
        let mut predictions: Vec<Prediction> = probabilities
            .iter()
            .copied()
            .zip(&self.manifest.classes)
            .enumerate()
            .map(|(index, (probability, class))| Prediction {
                class: class.id.clone(),
                index,
                probability,
            })
            .collect();
        predictions.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        predictions
    }
}

/// What is to be explained.
struct Work<'a> {
    explainer: &'a Explainer,
    explain: &'a Explain,
    classes: &'a [usize],
    view: &'a RgbImage,
    /// So many flips and turns of it.
    views: usize,
    /// The whole picture, where heatmaps are drawn on it, and the part that the network saw.
    upload: Option<RgbImage>,
    region: Region,
    deadline: Instant,
}

/// A layer that is named by its number gets its name.
fn numbered(layer: &Layer, layers: &[LayerInfo]) -> Result<Layer, derm_gradcam::Error> {
    let Layer::Named(name) = layer else { return Ok(layer.clone()) };
    if layers.iter().any(|layer| layer.name == *name) {
        return Ok(layer.clone());
    }
    match name.parse::<usize>() {
        Ok(number) => {
            let found = layers.get(number);
            let found = found.ok_or_else(|| derm_gradcam::Error::NoSuchLayer(name.clone()))?;
            Ok(Layer::Named(found.name.clone()))
        }
        Err(_) => Ok(layer.clone()),
    }
}

fn timed<T>(into: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *into += start.elapsed();
    result
}
