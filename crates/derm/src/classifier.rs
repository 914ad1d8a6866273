//! The four crates composed.

use crate::{
    Drawing, Error, Explain, Explanation, Layer, Limits, Manifest, ModelSource, Prediction, Report,
    Request, Timings, Uncertainty, views,
};
use derm_gradcam::{Explainer, blend, encode_png, transparent};
use derm_model::{Graph, Lazy, Precision, Settings, Workers};
use derm_preprocess::{Prepared, RgbImage};
use std::num::NonZeroUsize;
use std::ops::Deref;
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
    source: ModelSource,
    manifest: Manifest,
    limits: Limits,
    settings: Settings,
    footprint: Arc<OnceLock<Footprint>>,
    loaded: Lazy<Loaded, derm_model::Error>,
}

/// A loaded model; when it goes, its memory goes back to the system.
#[derive(Debug)]
struct Loaded {
    explainer: Explainer,
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
    fn of(explainer: &Explainer) -> Footprint {
        let plan = explainer.plan();
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
        let settings = Settings {
            precision: options.weights,
            workers: Workers::new(options.threads.get()),
            ..Settings::default()
        };
        let footprint = Arc::new(OnceLock::new());
        let load = {
            let (source, settings) = (source.clone(), settings.clone());
            let known = Arc::clone(&footprint);
            move || {
                let graph = Graph::load(&source)?;
                // Half of the loader's code has done its work before the weights come.
                derm_memstat::release_file_pages();
                let explainer = Explainer::new(graph, &Layer::Last, &settings)?;
                // What only loading needed: the graph, and the code that made it.
                release();
                known.get_or_init(|| Footprint::of(&explainer));
                Ok(Loaded { explainer, _release: ReleaseOnDrop })
            }
        };
        let uses = move || options.reload.map(Reload::draw);
        let loaded = Lazy::new(load, uses);
        Ok(Classifier { source, manifest, limits: options.limits, settings, footprint, loaded })
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

    /// Gives the arenas back that are kept for a next prediction.
    pub fn release_arenas(&self) {
        self.loaded.peek(|loaded| loaded.explainer.plan().release_idle());
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
        self.loaded.peek(|loaded| loaded.explainer.plan().idle_bytes()).unwrap_or(0)
    }

    /// Bytes that classifying this picture will hold at once beside its own bytes and the model's
    /// arena, as the picture's header tells. Nothing is decoded.
    ///
    /// # Errors
    /// [`Error::Picture`], but for damage that only decoding finds.
    pub fn memory_needed(&self, bytes: &[u8]) -> Result<u64, Error> {
        let spec = &self.manifest.input;
        let pixels = u64::from(spec.width) * u64::from(spec.height);
        // Decoding is over when the heatmap is drawn: picture, overlay (RGBA), PNG, its base64.
        Ok(spec.memory_needed(bytes, &self.limits)?.max(pixels * 12))
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
        loaded.explainer.run(|input| input.fill(0.0))?;
        let unexplained = loaded.explainer.why_not().map(ToString::to_string);
        let footprint = Footprint::of(&loaded.explainer);
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
        let class = self.class_to_explain(request)?;
        let turns = self.views_to_classify(request)?;
        if Instant::now() >= deadline {
            return Err(Error::TimedOut);
        }
        let spec = &self.manifest.input;
        let prepared = timed(&mut timings.decode, || spec.prepare(bytes, &self.limits))?;
        let Prepared { view, region, full_size: size } = prepared;

        let layer = request.explain.as_ref().map_or(&Layer::Last, |explain| &explain.layer);
        let explainer = timed(&mut timings.load, || self.explainer(layer, deadline))?;
        let evaluation =
            timed(&mut timings.infer, || explainer.run(|input| spec.normalise(&view, input)))?;
        let mut probabilities = self.manifest.probabilities(&evaluation.scores);
        for number in 1..turns {
            if Instant::now() >= deadline {
                return Err(Error::TimedOut);
            }
            let turned = timed(&mut timings.decode, || views::view(&view, number));
            let run = || explainer.run(|input| spec.normalise(&turned, input));
            let scores = timed(&mut timings.infer, run)?.scores;
            let others = self.manifest.probabilities(&scores);
            probabilities.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
        }
        probabilities.iter_mut().for_each(|sum| *sum /= turns as f32);
        let predictions = self.predictions(&probabilities);
        let uncertain = self.manifest.uncertain.as_ref().zip(evaluation.ood_score);
        let uncertain =
            uncertain.map(|(known, score)| Uncertainty { score, threshold: known.threshold });

        let explanation = request.explain.as_ref().map(|explain| {
            let class = class.unwrap_or(predictions[0].index);
            let heatmap = timed(&mut timings.gradcam, || explainer.grad_cam(&evaluation, class))
                .map_err(|error| error.to_string())?;
            let png = timed(&mut timings.render, || draw(&view, &heatmap, explain));
            Ok(Explanation { class: self.manifest.classes[class].id.clone(), heatmap, png })
        });
        let flagged = self.flagged(&predictions);
        let keep = request.top_k.unwrap_or(usize::MAX);
        let predictions = predictions.into_iter().take(keep).collect();
        Ok(Report { predictions, flagged, uncertain, explanation, size, region, timings })
    }

    /// The classes that reach their threshold.
    fn flagged(&self, predictions: &[Prediction]) -> Vec<Prediction> {
        let threshold = |index: usize| self.manifest.classes[index].threshold;
        let reaches = |p: &&Prediction| threshold(p.index).is_some_and(|at| p.probability >= at);
        predictions.iter().filter(reaches).cloned().collect()
    }

    /// How many views of the picture the request wants classified.
    fn views_to_classify(&self, request: &Request) -> Result<usize, Error> {
        let most = views::count(self.manifest.input.width, self.manifest.input.height);
        if request.tta > most {
            let reason = format!("the network's input has {most} flips and turns");
            return Err(Error::Parameter { name: "tta", reason });
        }
        Ok(request.tta.max(1))
    }

    /// Number of the class that the request names.
    fn class_to_explain(&self, request: &Request) -> Result<Option<usize>, Error> {
        let named = request.explain.as_ref().and_then(|explain| explain.class.as_deref());
        let Some(name) = named else { return Ok(None) };
        let index = self.manifest.class_index(name).ok_or_else(|| {
            let known: Vec<&str> =
                self.manifest.classes.iter().take(20).map(|class| class.id.as_str()).collect();
            let reason = format!("the model has no class {name:?}; it has {}", known.join(", "));
            Error::Parameter { name: "class", reason }
        })?;
        Ok(Some(index))
    }

    /// The plan that is kept, or one of its own for a layer by name.
    fn explainer<'a>(
        &'a self,
        layer: &Layer,
        deadline: Instant,
    ) -> Result<impl Deref<Target = Explainer> + 'a, Error> {
        if *layer == Layer::Last {
            return Ok(Use::Kept(self.loaded.acquire(deadline)?));
        }
        let explainer = Explainer::load(&self.source, layer, &self.settings).map_err(|error| {
            if matches!(error, derm_model::Error::NoSuchLayer(_)) {
                return Error::Parameter { name: "layer", reason: error.to_string() };
            }
            error.into()
        })?;
        if let Some(reason) = explainer.why_not() {
            return Err(Error::Parameter { name: "layer", reason: reason.to_string() });
        }
        Ok(Use::Own(Box::new(explainer)))
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

/// Whose plan a request runs on.
enum Use<'a> {
    Kept(derm_model::Lease<'a, Loaded, derm_model::Error>),
    Own(Box<Explainer>),
}

impl Deref for Use<'_> {
    type Target = Explainer;

    fn deref(&self) -> &Explainer {
        match self {
            Use::Kept(lease) => &lease.explainer,
            Use::Own(explainer) => explainer,
        }
    }
}

fn draw(view: &RgbImage, heatmap: &derm_gradcam::Heatmap, explain: &Explain) -> Vec<u8> {
    let (width, height) = view.dimensions();
    match explain.drawing {
        Drawing::Overlay => {
            let overlay = blend(view, heatmap, explain.colormap, explain.alpha);
            encode_png(width, height, overlay.as_raw())
        }
        Drawing::Heatmap => {
            let overlay = transparent(heatmap, width, height, explain.colormap);
            encode_png(width, height, overlay.as_raw())
        }
    }
}

fn timed<T>(into: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *into += start.elapsed();
    result
}
