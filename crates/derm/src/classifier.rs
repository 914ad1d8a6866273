//! Classifier: a picture in, classes and heatmaps out.

use crate::classify::{classify, classify_tensor};
use crate::deadline::{Clock, Deadline};
use crate::loaded::{self, Loaded};
use crate::served::Served;
use crate::{
    Cost, Digest, Error, Explain, ExplainError, Explanation, Footprint, GraphInput, LayerInfo,
    Limits, Manifest, ModelError, ModelSource, Options, Picture, Reload, Report, Request, cost,
};
use derm_model::{EngineOptions, Operators, ThreadPool};
use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A model that is loaded on first use, and everything from a picture's bytes to a [`Report`].
#[derive(Debug)]
pub struct Classifier {
    source: ModelSource,
    engine: EngineOptions,
    reload: Option<Reload>,
    limits: Limits,
    served: Mutex<Arc<Served>>,
    /// Held while the model is replaced.
    replacing: Mutex<()>,
    /// Loads of the models that were served before.
    earlier_loads: AtomicU64,
    /// How long these took in all, nanoseconds.
    earlier_loading: AtomicU64,
    cancelled: AtomicBool,
    clock: Clock,
}

/// What a model is and what can be asked of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Description {
    /// Its manifest.
    pub manifest: Arc<Manifest>,
    /// Its digest.
    pub digest: Digest,
    /// The graph's own input, which [`Classifier::classify_tensor`] takes.
    pub input: GraphInput,
    /// The layers that can be explained, in order of computation.
    pub layers: Vec<LayerInfo>,
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
    /// The model's digest.
    pub digest: Digest,
    /// The engine's operations, and the operators that tract evaluates.
    pub operators: Operators,
    /// The nodes that were not compared with onnxruntime as they are used, with the reason.
    pub unverified: Vec<String>,
}

impl Classifier {
    /// Opens the model's files, looks whether they are whole, and checks the manifest; the model
    /// itself is loaded by the first use.
    ///
    /// Files that are replaced, removed or overwritten later do not change what is served: that takes
    /// [`Classifier::reload`].
    ///
    /// # Errors
    /// [`Error::Model`].
    pub fn new(source: ModelSource, options: Options) -> Result<Classifier, Error> {
        let engine = EngineOptions {
            precision: options.weights,
            threads: ThreadPool::new(options.intra_op_threads.get()),
            allow_unverified: options.allow_unverified_operators,
            ..EngineOptions::default()
        };
        Classifier::with(source, engine, options.reload, options.limits)
    }

    /// A classifier of another model, with the options of this one. Both share the threads inside an
    /// inference.
    ///
    /// # Errors
    /// [`Error::Model`].
    pub fn beside(&self, source: ModelSource) -> Result<Classifier, Error> {
        Classifier::with(source, self.engine.clone(), self.reload, self.limits)
    }

    fn with(
        source: ModelSource,
        engine: EngineOptions,
        reload: Option<Reload>,
        limits: Limits,
    ) -> Result<Classifier, Error> {
        let served = Served::open(&source, &engine, reload)?;
        Ok(Classifier {
            source,
            engine,
            reload,
            limits,
            served: Mutex::new(Arc::new(served)),
            replacing: Mutex::default(),
            earlier_loads: AtomicU64::new(0),
            earlier_loading: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
            clock: Instant::now,
        })
    }

    /// Replaces the model by what its paths lead to now: opens that, loads it beside the model that
    /// is served, and runs it once. On failure nothing changes. Requests that have begun end with the
    /// model that they began with, which is dropped after the last of them.
    ///
    /// Takes the memory of both models; where there is no room, first [unload](Self::unload) the old
    /// one, which is loaded again by the next use if this fails. Takes as long as loading does; a
    /// second call waits for the first.
    ///
    /// # Errors
    /// [`Error::Model`].
    pub fn reload(&self) -> Result<Digest, Error> {
        let _replacing = lock(&self.replacing);
        let next = Served::open(&self.source, &self.engine, self.reload)?;
        let digest = next.check()?.digest;
        self.replace(next);
        Ok(digest)
    }

    /// Replaces the model by what its paths lead to now, without loading that: the next use does. On
    /// failure nothing changes.
    ///
    /// # Errors
    /// [`Error::Model`].
    pub fn reopen(&self) -> Result<(), Error> {
        let _replacing = lock(&self.replacing);
        self.replace(Served::open(&self.source, &self.engine, self.reload)?);
        Ok(())
    }

    /// Cancels all work, now and later: it ends between two inferences with [`Error::Cancelled`]. To be
    /// called when the process is about to end.
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }

    /// The manifest of the model that is served. That of an answer is [`Report::manifest`].
    pub fn manifest(&self) -> Arc<Manifest> {
        Arc::clone(self.served().manifest())
    }

    /// Whether the model's paths lead to other files than are served, as the last load found.
    pub fn is_superseded(&self) -> bool {
        self.served().is_superseded()
    }

    /// Whether the model is in memory.
    pub fn is_loaded(&self) -> bool {
        self.served().loaded.is_loaded()
    }

    /// How often a model was loaded.
    pub fn times_loaded(&self) -> u64 {
        self.earlier_loads.load(Relaxed) + self.served().loaded.times_made()
    }

    /// How long these loads took in all.
    pub fn time_loading(&self) -> Duration {
        let earlier = Duration::from_nanos(self.earlier_loading.load(Relaxed));
        earlier + self.served().loaded.time_making()
    }

    /// The digest of the model that is served; known once it was loaded. That of an answer is
    /// [`Report::digest`].
    pub fn digest(&self) -> Option<Digest> {
        self.served().digest()
    }

    /// Drops the model, now or when its last user is done; not while its files could not be loaded
    /// again, since they were overwritten; returns whether it does.
    pub fn unload(&self) -> bool {
        self.served().loaded.unload()
    }

    /// Drops the model if it was not used for `idle` and can be loaded again; returns whether it did.
    pub fn unload_if_idle(&self, idle: Duration) -> bool {
        self.served().loaded.unload_if_idle(idle)
    }

    /// Drops the arenas and plans that are kept for a next prediction or explanation.
    pub fn release_arenas(&self) {
        self.served().loaded.peek(Loaded::release_idle);
    }

    /// Returns all memory that is only kept for a next prediction to the system: arenas, the heap's
    /// free pages, code. Call it when no prediction is expected soon.
    pub fn release_idle(&self) {
        self.release_arenas();
        loaded::release_unused();
    }

    /// Bytes of the model's files: about what its weights take in memory, where their precision stays.
    pub fn file_bytes(&self) -> u64 {
        self.served().file_bytes()
    }

    /// What the model takes; known once it was loaded, also after it was unloaded again.
    pub fn footprint(&self) -> Option<Footprint> {
        self.served().footprint()
    }

    /// Bytes of the arenas and plans that are kept for a next prediction or explanation.
    pub fn idle_bytes(&self) -> usize {
        self.served().loaded.peek(Loaded::idle_bytes).unwrap_or(0)
    }

    /// What the model is and what can be asked of it. Loads the model if need be.
    ///
    /// # Errors
    /// [`Error::Model`], [`Error::TimedOut`].
    pub fn describe(&self, deadline: Instant) -> Result<Description, Error> {
        self.with_model(|served| {
            let loaded = served.acquire(deadline)?;
            let (manifest, digest) = (Arc::clone(served.manifest()), loaded.digest());
            let (input, layers) = (loaded.input().clone(), loaded.layers().to_vec());
            Ok(Description { manifest, digest, input, layers })
        })
    }

    /// Loads the model and runs it once, on an input of zeros.
    ///
    /// # Errors
    /// [`Error::Model`], also where its scores are not what the manifest says.
    pub fn check(&self) -> Result<Checked, Error> {
        self.with_model(Served::check)
    }

    fn served(&self) -> Arc<Served> {
        Arc::clone(&lock(&self.served))
    }

    /// Does something with the model. Where that is not in memory and its files were overwritten, so
    /// that it is lost, what its paths lead to now takes its place, as a whole.
    fn with_model<T>(&self, work: impl Fn(&Served) -> Result<T, Error>) -> Result<T, Error> {
        let served = self.served();
        match work(&served) {
            Err(Error::Model(error)) if matches!(*error, ModelError::Changed { .. }) => {
                work(&*self.reopened(&served)?)
            }
            done => done,
        }
    }

    /// The model in place of one that is lost.
    fn reopened(&self, lost: &Arc<Served>) -> Result<Arc<Served>, Error> {
        let _replacing = lock(&self.replacing);
        if Arc::ptr_eq(&self.served(), lost) {
            self.replace(Served::open(&self.source, &self.engine, self.reload)?);
        }
        Ok(self.served())
    }

    /// Called by who holds `replacing`.
    fn replace(&self, next: Served) {
        let last = std::mem::replace(&mut *lock(&self.served), Arc::new(next));
        self.earlier_loads.fetch_add(last.loaded.times_made(), Relaxed);
        let nanoseconds = last.loaded.time_making().as_nanos() as u64;
        self.earlier_loading.fetch_add(nanoseconds, Relaxed);
        // Dropped here, or by its last request.
        drop(last);
    }

    /// Opens a picture, from `&[u8]` or `Vec<u8>`: one that owns its bytes can move to another thread.
    ///
    /// # Errors
    /// [`Error::Picture`]: it is beyond the [`Limits`], or its header is damaged or not one that is
    /// read.
    pub fn open<'a>(&self, bytes: impl Into<Cow<'a, [u8]>>) -> Result<Picture<'a>, Error> {
        Ok(Picture::open(bytes, &self.limits)?)
    }

    /// A picture whose pixels are in memory: [`Picture::of_pixels`].
    ///
    /// # Errors
    /// [`Error::Picture`].
    pub fn open_pixels<'a>(
        &self,
        size: (u32, u32),
        channels: usize,
        samples: impl Into<Cow<'a, [u8]>>,
    ) -> Result<Picture<'a>, Error> {
        Ok(Picture::of_pixels(size, channels, samples, &self.limits)?)
    }

    /// Memory that [`Classifier::classify`] will take, as the picture's header tells. Nothing is
    /// decoded.
    ///
    /// # Errors
    /// [`Error::Picture`]: it takes more than [`Limits::max_memory`]. [`Error::Parameter`]: the model
    /// is loaded and does not have the layer.
    pub fn cost(&self, picture: &Picture<'_>, request: &Request) -> Result<Cost, Error> {
        let served = self.served();
        let picture = cost::of_picture(picture, served.manifest(), request.explain.as_ref())?;
        Classifier::cost_with(&served, picture, request)
    }

    /// As [`Classifier::cost`], where [`Cost::picture`] is known.
    ///
    /// # Errors
    /// [`Error::Parameter`]: the model is loaded and does not have the layer.
    pub fn cost_of(&self, picture: u64, request: &Request) -> Result<Cost, Error> {
        Classifier::cost_with(&self.served(), picture, request)
    }

    /// As [`Classifier::cost`], of [`Classifier::classify_tensor`]. Its values are counted, as
    /// float32.
    ///
    /// # Errors
    /// [`Error::Parameter`]: the model is loaded and does not have the layer.
    pub fn tensor_cost(&self, request: &Request) -> Result<Cost, Error> {
        let served = self.served();
        let shape = served.manifest().input.shape();
        let values = shape.iter().product::<usize>() * size_of::<f32>();
        Classifier::cost_with(&served, values as u64, request)
    }

    /// The cost of a request whose picture takes so many bytes.
    fn cost_with(served: &Served, picture: u64, request: &Request) -> Result<Cost, Error> {
        let explain = request.explain.as_ref();
        let described = request.described();
        let refusal =
            described.and_then(|explain| served.loaded.peek(|loaded| loaded.refusal(explain)));
        if let Some(error) = refusal.flatten() {
            return Err(error);
        }
        let arenas = served.footprint().zip(explanation_bytes(served, explain));
        let arenas = arenas.map(|(model, explanation)| (model.arena + explanation) as u64);
        Ok(Cost { picture, arenas })
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
        let deadline = Deadline { at: deadline, clock: self.clock, cancelled: &self.cancelled };
        self.with_model(|served| classify(served, picture, request, deadline))
    }

    /// Classifies a tensor of the graph's own input, whose values are neither resized nor
    /// normalised: [`GraphInput::shape`] of [`Description::input`], integers as numbers. An
    /// explanation is its heatmap's values: there is no picture to draw on.
    ///
    /// # Errors
    /// Those of [`Classifier::classify`]; [`Error::Parameter`] for another number of values, and for
    /// augmentations.
    pub fn classify_tensor(
        &self,
        values: &[f32],
        request: &Request,
        deadline: Instant,
    ) -> Result<Report, Error> {
        let deadline = Deadline { at: deadline, clock: self.clock, cancelled: &self.cancelled };
        self.with_model(|served| classify_tensor(served, values, request, deadline))
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

/// Bytes that an explanation takes beside the arena of the prediction: 0 where it needs no plan of
/// its own; `None` before that plan was made once.
fn explanation_bytes(served: &Served, explain: Option<&Explain>) -> Option<usize> {
    let Some(explain) = explain.filter(|explain| explain.needs_own_plan()) else {
        return Some(0);
    };
    let plan = served.loaded.peek(|loaded| loaded.explanation_bytes(explain)).flatten()?;
    Some(plan + cost::of_pixel_maps(served.manifest()))
}

/// Only whole values are ever put behind these locks, so a poisoned one is usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
