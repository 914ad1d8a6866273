//! Explainers: the plans of one model. The base plan predicts and is always there; the plan of the
//! last other request is kept beside it.

use crate::{Error, Explainer, Layer, LayerInfo, Method, layers};
use derm_model::{EngineOptions, Graph, ModelSource, PackedWeightCache};
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What an explanation is asked for: how it is made, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExplainRequest {
    /// The method.
    pub method: Method,
    /// The layer to explain; ignored by methods that attribute to input pixels.
    pub layer: Layer,
}

/// Requests of one key share a plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PlanKey {
    layer: Layer,
    /// Whether the second phase replays the layers after this one, in place of the gradient.
    replays: bool,
}

/// A model that predicts and explains in every way.
///
/// The base plan serves predictions and all methods that need the gradient at the default layer only.
/// Any other request needs a plan of its own over the same packed weights; the last such plan is kept
/// until [`Explainers::release_idle`] or until another one is built.
#[derive(Debug)]
pub struct Explainers {
    source: ModelSource,
    options: EngineOptions,
    base: Explainer,
    layers: Vec<LayerInfo>,
    /// The build lock: packed weights, held while a plan is built, which takes seconds.
    cache: Mutex<PackedWeightCache>,
    /// Held for a moment only, so that [`Explainers::release_idle`] never waits for a build.
    kept: Mutex<Option<(PlanKey, Arc<Explainer>)>>,
    /// Bytes of each plan that was built: its arena, and the weights that it packed itself. Held for
    /// a moment only.
    costs: Mutex<HashMap<PlanKey, usize>>,
    /// Hashes of all names that a layer of the graph can be named by, sorted.
    names: Vec<u64>,
    /// Why the graph cannot be explained at a layer that it has; at most one for each name.
    refused: Mutex<HashMap<PlanKey, Error>>,
}

/// The explainer that serves a request.
#[derive(Debug)]
pub enum ExplainerRef<'a> {
    /// The base plan.
    Base(&'a Explainer),
    /// A plan beside it.
    Own(Arc<Explainer>),
}

impl Deref for ExplainerRef<'_> {
    type Target = Explainer;

    fn deref(&self) -> &Explainer {
        match self {
            ExplainerRef::Base(explainer) => explainer,
            ExplainerRef::Own(explainer) => explainer,
        }
    }
}

impl ExplainRequest {
    fn plan_key(&self) -> PlanKey {
        PlanKey { layer: self.method.layer(&self.layer), replays: self.method.replays() }
    }

    /// Whether it needs a plan beside the base plan.
    pub fn needs_own_plan(&self) -> bool {
        self.plan_key() != PlanKey { layer: Layer::Last, replays: false }
    }
}

impl Explainers {
    /// Builds the base plan of `graph`, which was loaded from `source` by [`Graph::load`].
    ///
    /// # Errors
    /// Those of [`Explainer::new`].
    pub fn new(
        source: ModelSource,
        graph: Graph,
        options: EngineOptions,
    ) -> Result<Explainers, derm_model::Error> {
        let layers = layers(&graph)?;
        let mut names: Vec<u64> = graph.layer_names().map(hash).collect();
        names.sort_unstable();
        let mut cache = PackedWeightCache::default();
        let base = Explainer::new(graph, &Layer::Last, &options, &mut cache)?;
        Ok(Explainers {
            source,
            options,
            base,
            layers,
            cache: Mutex::new(cache),
            kept: Mutex::default(),
            costs: Mutex::default(),
            names,
            refused: Mutex::default(),
        })
    }

    /// The explainer with the base plan.
    pub fn base(&self) -> &Explainer {
        &self.base
    }

    /// The layers that [`Layer::Named`] can name, in evaluation order.
    pub fn layers(&self) -> &[LayerInfo] {
        &self.layers
    }

    /// Bytes of the plan that the request needs beside the base plan, arena of one run included: 0
    /// where it needs none, `None` where that plan was never built.
    pub fn cost(&self, request: &ExplainRequest) -> Option<usize> {
        if !request.needs_own_plan() {
            return Some(0);
        }
        lock(&self.costs).get(&request.plan_key()).copied()
    }

    /// Why the request will be refused, where that is known without building its plan: the graph has no
    /// layer of this name, or building the plan has failed before.
    pub fn refusal(&self, request: &ExplainRequest) -> Option<Error> {
        let key = request.plan_key();
        let unknown =
            key.layer.name().filter(|name| self.names.binary_search(&hash(name)).is_err());
        if let Some(name) = unknown {
            return Some(Error::NoSuchLayer(name.to_owned()));
        }
        lock(&self.refused).get(&key).cloned()
    }

    /// Bytes that are kept for a next run: idle arenas, and the plan beside the base plan.
    pub fn idle_bytes(&self) -> usize {
        let kept = lock(&self.kept);
        let own = kept.as_ref().map_or(0, |(_, explainer)| {
            let plan = explainer.plan();
            plan.idle_bytes() + plan.packed_bytes()
        });
        self.base.plan().idle_bytes() + own
    }

    /// Whether the request's plan is in memory.
    pub fn is_ready(&self, request: &ExplainRequest) -> bool {
        !request.needs_own_plan() || self.kept(&request.plan_key()).is_some()
    }

    /// Frees the plan that is kept for a next explanation, and all idle arenas. Never waits for a plan
    /// that is being built.
    pub fn release_idle(&self) {
        self.drop_kept();
        self.base.plan().release_idle();
    }

    /// The explainer for a request; builds its plan if it is not in memory. Its predictions equal
    /// those of the base plan, so a prediction that will be explained can use it and needs no second
    /// run.
    ///
    /// # Errors
    /// That of [`Explainer::why_not`] where the request needs its own plan, [`Error::NoSuchLayer`],
    /// [`Error::Failed`].
    pub fn for_explaining(&self, request: &ExplainRequest) -> Result<ExplainerRef<'_>, Error> {
        if request.needs_own_plan() {
            Ok(ExplainerRef::Own(self.kept_or_built(&request.plan_key())?))
        } else {
            Ok(ExplainerRef::Base(&self.base))
        }
    }

    fn kept_or_built(&self, key: &PlanKey) -> Result<Arc<Explainer>, Error> {
        if let Some(explainer) = self.kept(key) {
            return Ok(explainer);
        }
        let built = self.build(key);
        if let Err(error @ (Error::UnsuitableLayer(..) | Error::NoRule { .. })) = &built {
            lock(&self.refused).insert(key.clone(), error.clone());
        }
        built
    }

    fn build(&self, key: &PlanKey) -> Result<Arc<Explainer>, Error> {
        let mut cache = lock(&self.cache);
        // Another thread may have built it while this one waited.
        if let Some(explainer) = self.kept(key) {
            return Ok(explainer);
        }
        // At most one plan beside the base: the last one goes before the next is built.
        self.drop_kept();
        let load = if key.replays { Explainer::load_replaying } else { Explainer::load };
        let built = load(&self.source, &key.layer, &self.options, &mut cache);
        let built = built.and_then(|built| self.source.verify().map(|()| built));
        let explainer = Arc::new(built.map_err(|error| match error {
            derm_model::Error::NoSuchLayer(name) => Error::NoSuchLayer(name),
            other => other.into(),
        })?);
        if let Some(reason) = explainer.why_not() {
            return Err(reason.clone());
        }
        let plan = explainer.plan();
        let cost = plan.arena_bytes() + plan.packed_bytes();
        // A second build finds its weights packed already; the first cost is the whole one.
        lock(&self.costs).entry(key.clone()).or_insert(cost);
        *lock(&self.kept) = Some((key.clone(), Arc::clone(&explainer)));
        Ok(explainer)
    }

    fn kept(&self, key: &PlanKey) -> Option<Arc<Explainer>> {
        let kept = lock(&self.kept);
        kept.as_ref().filter(|(of, _)| of == key).map(|(_, explainer)| Arc::clone(explainer))
    }

    /// Freeing a plan takes a while: it is dropped after the lock is released.
    fn drop_kept(&self) {
        let dropped = lock(&self.kept).take();
        drop(dropped);
    }
}

fn hash(name: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(name)
}

/// No panic leaves these values half-written, so a poisoned lock is usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    /// Housekeeping on the server's event loop calls `release_idle`: it must not wait for a build, which
    /// holds the build lock; here the test does.
    #[test]
    fn release_idle_does_not_wait_for_a_plan_that_is_being_built() {
        let model = derm_zoo::entry("mobilenetv2.opset13").unwrap().make(&derm_zoo::folder());
        let source = ModelSource::at(model.unwrap());
        let graph = Graph::load(&source).unwrap();
        let explainers = Explainers::new(source, graph, EngineOptions::default()).unwrap();
        let request = ExplainRequest { method: Method::Saliency, layer: Layer::Last };
        let (done, is_done) = mpsc::channel();
        std::thread::scope(|scope| {
            let building = lock(&explainers.cache);
            scope.spawn(|| {
                explainers.release_idle();
                assert!(!explainers.is_ready(&request));
                assert_eq!(explainers.cost(&request), None);
                done.send(()).unwrap();
            });
            let released = is_done.recv_timeout(Duration::from_secs(30));
            drop(building);
            assert!(released.is_ok(), "it waited for the build");
        });
        explainers.for_explaining(&request).map(drop).unwrap();
        assert!(explainers.is_ready(&request));
        let cost = explainers.cost(&request).unwrap();
        assert!(cost > 0);
        // What a run leaves counts until it is released: the plan's own weights, and its arena.
        drop(explainers.kept(&request.plan_key()).unwrap().run(|input| input.fill(0.0)).unwrap());
        assert_eq!(explainers.idle_bytes(), cost);
        explainers.release_idle();
        assert_eq!(explainers.idle_bytes(), 0);
        assert!(!explainers.is_ready(&request));
    }
}
