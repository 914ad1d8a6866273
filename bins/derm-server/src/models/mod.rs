//! The models that are served, and what each of them is doing.

mod admission;
mod source;

pub(crate) use admission::{
    Reloading, admit, admit_own, give_up, keep_weights, replace_weights, unload,
};
pub(crate) use source::{classifiers, only_source, options, version};

use crate::error::ApiError;
use crate::excerpt::quoted;
use crate::permits::WeightsMemory;
use derm::Classifier;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU64};
use tokio::sync::{Mutex, RwLock};

/// All models, in the order of their names. There is at least one.
#[derive(Debug)]
pub(crate) struct Models {
    list: Vec<Arc<Model>>,
    /// Counts uses of any model.
    clock: AtomicU64,
}

/// One model.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) classifier: Classifier,
    /// What its weights take out of the budget.
    pub(crate) weights: WeightsMemory,
    /// Held by the inferences that read the weights, and by who gives them up.
    residence: Arc<RwLock<()>>,
    /// Held while it is replaced.
    pub(crate) replacing: Mutex<()>,
    /// The clock at its last use.
    last_use: AtomicU64,
    availability: AtomicU8,
}

/// Whether a model can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Availability {
    /// It has not been loaded and run yet.
    Unchecked,
    /// It was loaded and run. It may be out of memory: the next use loads it again.
    Ready,
    /// It was unloaded on request, and not used since.
    Unloaded,
}

impl Models {
    /// For these classifiers.
    pub(crate) fn new(classifiers: Vec<(String, Classifier)>) -> Models {
        let model = |(name, classifier)| {
            Arc::new(Model {
                name,
                classifier,
                weights: WeightsMemory::default(),
                residence: Arc::default(),
                replacing: Mutex::default(),
                last_use: AtomicU64::new(0),
                availability: AtomicU8::new(Availability::Unchecked as u8),
            })
        };
        Models { list: classifiers.into_iter().map(model).collect(), clock: AtomicU64::new(0) }
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[Arc<Model>] {
        &self.list
    }

    /// The one that serves requests which name none: the first.
    pub(crate) fn default(&self) -> &Arc<Model> {
        &self.list[0]
    }

    /// The model of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Model>> {
        self.list.iter().find(|model| model.name == name)
    }

    /// The model that a parameter names; without one, the default.
    ///
    /// # Errors
    /// [`ApiError::Parameter`]: there is none of this name.
    pub(crate) fn named(&self, name: Option<&str>) -> Result<&Arc<Model>, ApiError> {
        let Some(name) = name else { return Ok(self.default()) };
        self.get(name).ok_or_else(|| {
            let known: Vec<&str> =
                self.list.iter().take(20).map(|model| model.name.as_str()).collect();
            let reason =
                format!("there is no model {}; there are {}", quoted(name), known.join(", "));
            ApiError::Parameter { name: "model".to_owned(), reason }
        })
    }

    /// The model of this name, in this version.
    ///
    /// # Errors
    /// [`ApiError::UnknownModel`].
    pub(crate) fn of_version(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<Arc<Model>, ApiError> {
        let model = self.get(name).ok_or_else(|| ApiError::UnknownModel(quoted(name)))?;
        let known = model.version();
        match version {
            Some(asked) if asked != known => Err(ApiError::UnknownModel(format!(
                "{} of version {}; there is version {known}",
                quoted(name),
                quoted(asked)
            ))),
            _ => Ok(Arc::clone(model)),
        }
    }

    /// Notes a use of a model.
    fn touch(&self, model: &Model) {
        model.last_use.store(self.clock.fetch_add(1, Relaxed) + 1, Relaxed);
    }

    /// The loaded model that was used least recently; a pinned one only if there is no other.
    pub(crate) fn least_recently_used(&self) -> Option<&Arc<Model>> {
        let loaded = self.list.iter().filter(|model| model.classifier.is_loaded());
        loaded.min_by_key(|model| (model.is_pinned(), model.last_use.load(Relaxed)))
    }
}

impl Model {
    /// Whether it stays in memory once it is loaded.
    pub(crate) fn is_pinned(&self) -> bool {
        self.classifier.manifest().pinned
    }

    /// The version of its weights; `1` where the manifest does not say it.
    pub(crate) fn version(&self) -> String {
        let manifest = self.classifier.manifest();
        if manifest.version.is_empty() { "1".to_owned() } else { manifest.version.clone() }
    }

    /// Whether it can be used.
    pub(crate) fn availability(&self) -> Availability {
        [Availability::Unchecked, Availability::Ready, Availability::Unloaded]
            [usize::from(self.availability.load(Relaxed))]
    }

    /// Says whether it can be used.
    pub(crate) fn set_availability(&self, availability: Availability) {
        self.availability.store(availability as u8, Relaxed);
    }
}
