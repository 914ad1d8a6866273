//! The explainers of one model: one that is always there, and one for what was last asked beside.

use crate::methods::{Watch, heatmap};
use crate::{Error, Evaluation, Explainer, Heatmap, Layer, LayerInfo, Method, layers};
use derm_model::{Graph, Kernels, ModelSource, Settings};
use std::collections::HashMap;
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
struct Use {
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
    other: Mutex<Option<(Use, Arc<Explainer>)>>,
    /// Bytes of the arenas of the plans that were made.
    arenas: Mutex<HashMap<Use, usize>>,
}

impl Wanted {
    fn needs(&self) -> Use {
        Use { layer: self.method.layer(&self.layer), replays: self.method.replays() }
    }

    /// Whether a plan of its own is needed, beside the one that predicts.
    pub fn needs_own_plan(&self) -> bool {
        self.needs() != Use { layer: Layer::Last, replays: false }
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
            arenas: Mutex::default(),
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

    /// Bytes of one run of the plan that this needs beside the one that predicts: 0 where it needs
    /// none, and `None` where it was never made.
    pub fn arena_bytes(&self, wanted: &Wanted) -> Option<usize> {
        if !wanted.needs_own_plan() {
            return Some(0);
        }
        locked(&self.arenas).get(&wanted.needs()).copied()
    }

    /// Gives back the plan that is only kept for a next explanation, and all kept arenas.
    pub fn release_idle(&self) {
        *locked(&self.other) = None;
        self.base.plan().release_idle();
    }

    /// The heatmap of each class. `fill` writes the picture that [`Explainers::base`] evaluated; it
    /// is called where the picture must be run again, when the evaluation's memory has been given
    /// back.
    ///
    /// # Errors
    /// [`Explainer::why_not`]'s, [`Error::NoSuchClass`], [`Error::NoSuchLayer`],
    /// [`Error::Stopped`], [`Error::Failed`].
    pub fn explain(
        &self,
        mut evaluation: Evaluation<'_>,
        wanted: &Wanted,
        classes: &[usize],
        fill: &dyn Fn(&mut [f32]),
        watch: Watch<'_>,
    ) -> Result<Vec<Heatmap>, Error> {
        let method = wanted.method;
        if !wanted.needs_own_plan() {
            let mut one =
                |class: &usize| heatmap(method, &mut evaluation, &self.base, *class, fill, watch);
            return classes.iter().map(&mut one).collect();
        }
        drop(evaluation);
        let explainer = self.explainer(&wanted.needs())?;
        let mut heatmaps = Vec::new();
        for &class in classes {
            // Methods that probe make runs of their own.
            let mut evaluation = explainer.run(fill)?;
            heatmaps.push(heatmap(method, &mut evaluation, &explainer, class, fill, watch)?);
        }
        Ok(heatmaps)
    }

    fn explainer(&self, wanted: &Use) -> Result<Arc<Explainer>, Error> {
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
        locked(&self.arenas).insert(wanted.clone(), explainer.plan().arena_bytes());
        *other = Some((wanted.clone(), Arc::clone(&explainer)));
        Ok(explainer)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
