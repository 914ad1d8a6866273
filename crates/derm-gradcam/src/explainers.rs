//! The explainers of one model: one that is always there, and one for what was last asked beside.

use crate::{Error, Explainer, Layer, LayerInfo, Method, layers};
use derm_model::{Graph, Kernels, ModelSource, Settings};
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An explanation that is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// How it is made.
    pub method: Method,
    /// The layer whose places are judged; of no effect on methods that judge pixels.
    pub layer: Layer,
}

/// What an explainer is made for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Purpose {
    layer: Layer,
    replays: bool,
}

/// A model that predicts, and explains in every way. Predictions, and methods at the default layer
/// that need its gradient only, have one plan; anything else has a plan of its own over the same
/// weights, of which the last one is kept until it is let go.
#[derive(Debug)]
pub struct Explainers {
    source: ModelSource,
    settings: Settings,
    base: Explainer,
    layers: Vec<LayerInfo>,
    kernels: Mutex<Kernels>,
    other: Mutex<Option<(Purpose, Arc<Explainer>)>>,
    /// Bytes that the plans that were made take: an arena, and weights that no other has.
    costs: Mutex<HashMap<Purpose, usize>>,
}

/// The explainer that serves a purpose.
#[derive(Debug)]
pub enum Use<'a> {
    /// The one that is always there.
    Base(&'a Explainer),
    /// One beside it.
    Own(Arc<Explainer>),
}

impl Deref for Use<'_> {
    type Target = Explainer;

    fn deref(&self) -> &Explainer {
        match self {
            Use::Base(explainer) => explainer,
            Use::Own(explainer) => explainer,
        }
    }
}

impl Wanted {
    fn needs(&self) -> Purpose {
        Purpose { layer: self.method.layer(&self.layer), replays: self.method.replays() }
    }

    /// Whether a plan of its own is needed, beside the one that predicts.
    pub fn needs_own_plan(&self) -> bool {
        self.needs() != Purpose { layer: Layer::Last, replays: false }
    }
}

impl Explainers {
    /// Makes the plan that predicts, of the graph of `source` ([`Graph::load`]).
    ///
    /// # Errors
    /// Those of [`Explainer::new`].
    pub fn new(
        source: ModelSource,
        graph: Graph,
        settings: Settings,
    ) -> Result<Explainers, derm_model::Error> {
        let layers = layers(&graph)?;
        let mut kernels = Kernels::default();
        let base = Explainer::new(graph, &Layer::Last, &settings, &mut kernels)?;
        Ok(Explainers {
            source,
            settings,
            base,
            layers,
            kernels: Mutex::new(kernels),
            other: Mutex::default(),
            costs: Mutex::default(),
        })
    }

    /// The one that predicts.
    pub fn base(&self) -> &Explainer {
        &self.base
    }

    /// The layers that can be named, in order of computation.
    pub fn layers(&self) -> &[LayerInfo] {
        &self.layers
    }

    /// Bytes of the plan that this needs beside the one that predicts, while it runs once: 0 where it
    /// needs none, and `None` where it was never made.
    pub fn cost(&self, wanted: &Wanted) -> Option<usize> {
        if !wanted.needs_own_plan() {
            return Some(0);
        }
        locked(&self.costs).get(&wanted.needs()).copied()
    }

    /// Whether its plan is there.
    pub fn is_ready(&self, wanted: &Wanted) -> bool {
        let kept = || locked(&self.other).as_ref().is_some_and(|(kept, _)| *kept == wanted.needs());
        !wanted.needs_own_plan() || kept()
    }

    /// Gives back the plan that is only kept for a next explanation, and all kept arenas.
    pub fn release_idle(&self) {
        *locked(&self.other) = None;
        self.base.plan().release_idle();
    }

    /// The one to predict with when this will be asked for: its prediction is the same, and may be
    /// explained without another run. Makes its plan if it is not there.
    ///
    /// # Errors
    /// [`Explainer::why_not`]'s where a layer of its own was asked for, [`Error::NoSuchLayer`],
    /// [`Error::Failed`].
    pub fn for_explaining(&self, wanted: &Wanted) -> Result<Use<'_>, Error> {
        if wanted.needs_own_plan() {
            Ok(Use::Own(self.explainer(&wanted.needs())?))
        } else {
            Ok(Use::Base(&self.base))
        }
    }

    fn explainer(&self, wanted: &Purpose) -> Result<Arc<Explainer>, Error> {
        let mut other = locked(&self.other);
        if let Some((kept, explainer)) = &*other
            && kept == wanted
        {
            return Ok(Arc::clone(explainer));
        }
        // The last one goes before the next is made.
        *other = None;
        let load = if wanted.replays { Explainer::load_replaying } else { Explainer::load };
        let mut kernels = locked(&self.kernels);
        let made = load(&self.source, &wanted.layer, &self.settings, &mut kernels);
        let explainer = Arc::new(made.map_err(|error| match error {
            derm_model::Error::NoSuchLayer(name) => Error::NoSuchLayer(name),
            other => other.into(),
        })?);
        if let Some(reason) = explainer.why_not() {
            return Err(reason.clone());
        }
        let plan = explainer.plan();
        let cost = plan.arena_bytes() + plan.packed_bytes();
        // Made once more, it finds its weights packed; what it cost before stays true.
        locked(&self.costs).entry(wanted.clone()).or_insert(cost);
        *other = Some((wanted.clone(), Arc::clone(&explainer)));
        Ok(explainer)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
