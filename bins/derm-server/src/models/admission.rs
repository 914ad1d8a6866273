//! Admission of an inference by one of several models: its weights have a place in the budget, for
//! which models that were used less recently are unloaded.

use super::{Availability, Model, Models};
use crate::clients::Client;
use crate::error::ApiError;
use crate::permits::{Demand, InferencePermit, LATE, Needs, Residence};
use crate::state::State;
use actix_web::web::Data;
use derm::Precision;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::time::{Instant, timeout_at};

/// What a model whose footprint is not known may take beside twice its file, in bytes.
const UNKNOWN_ARENA: usize = 16 << 20;

/// Waits for the right to run an inference by this model, and for the memory that it takes: `bytes`,
/// which is `None` as long as that is not known.
///
/// # Errors
/// [`ApiError::ModelTooLarge`], [`ApiError::OverBudget`], [`ApiError::Busy`].
pub(crate) async fn admit(
    state: &Data<State>,
    model: &Arc<Model>,
    client: &Client,
    bytes: impl Fn() -> Option<usize>,
    deadline: Instant,
) -> Result<InferencePermit, ApiError> {
    state.models.touch(model);
    state.permits.inference(client, Inference { state, model, bytes, deadline }, deadline).await
}

/// As [`admit`], for the server's own check of a model: it takes all there is.
///
/// # Errors
/// As [`admit`], but for a queue that is too long.
pub(crate) async fn admit_own(
    state: &Data<State>,
    model: &Arc<Model>,
    deadline: Instant,
) -> Result<InferencePermit, ApiError> {
    state.models.touch(model);
    let needs = Inference { state, model, bytes: || None, deadline };
    state.permits.own_inference(needs, deadline).await
}

/// Takes what a model turned out to take out of the permit of the inference that has loaded it. A
/// model that has no room there is unloaded again.
///
/// # Errors
/// [`ApiError::ModelTooLarge`].
pub(crate) fn keep_weights(
    state: &State,
    model: &Model,
    permit: &mut InferencePermit,
) -> Result<(), ApiError> {
    let Some(footprint) = model.classifier.footprint() else { return Ok(()) };
    let available = state.permits.reserved().available;
    let fits = state.permits.keep_for_weights(&model.weights, permit, footprint.weights);
    refuse_unless(fits, state, model, available)
}

/// As [`keep_weights`], of the inference that has replaced the model.
///
/// # Errors
/// [`ApiError::ModelTooLarge`].
pub(crate) fn replace_weights(
    state: &State,
    model: &Model,
    permit: &mut InferencePermit,
) -> Result<(), ApiError> {
    let Some(footprint) = model.classifier.footprint() else { return Ok(()) };
    let available = state.permits.reserved().available + model.weights.bytes();
    let fits = state.permits.set_weights(&model.weights, permit, footprint.weights);
    refuse_unless(fits, state, model, available)
}

/// Unloads a model that does not fit, unless it is the only one.
fn refuse_unless(
    fits: bool,
    state: &State,
    model: &Model,
    available: usize,
) -> Result<(), ApiError> {
    if fits || state.models.is_only(model) {
        return Ok(());
    }
    model.classifier.unload();
    state.permits.release_weights(&model.weights);
    let needed = model.classifier.footprint().map_or(0, |known| known.weights + known.arena);
    Err(too_large(state, model, needed, available))
}

/// Unloads a model when its inferences have ended; the next use loads it again.
///
/// # Errors
/// [`ApiError::Busy`]: they did not end in time. [`ApiError::Model`]: it could not be loaded again,
/// since its files were overwritten.
pub(crate) async fn unload(
    state: &Data<State>,
    model: &Arc<Model>,
    deadline: Instant,
) -> Result<(), ApiError> {
    if !give_up(state, model, deadline).await? {
        let reason = "its files were overwritten: it could not be loaded again";
        return Err(ApiError::Model(reason.to_owned()));
    }
    model.set_availability(Availability::Unloaded);
    Ok(())
}

/// Unloads a model and shares the memory of its weights again; returns whether it did.
pub(crate) async fn give_up(
    state: &Data<State>,
    model: &Arc<Model>,
    deadline: Instant,
) -> Result<bool, ApiError> {
    let residence = Arc::clone(&model.residence).write_owned();
    let alone = timeout_at(deadline, residence).await.map_err(|_| ApiError::Busy(LATE))?;
    let (shared, leaving) = (state.clone(), Arc::clone(model));
    let unloading = state.background.run(move || {
        let unloaded = leaving.classifier.unload();
        if unloaded {
            shared.permits.release_weights(&leaving.weights);
        }
        drop(alone);
        unloaded
    });
    unloading.await
}

impl Models {
    /// Whether there is no other.
    fn is_only(&self, model: &Model) -> bool {
        self.list.iter().all(|other| std::ptr::eq(&raw const **other, model))
    }

    /// Eviction candidates: the models that may be unloaded for this one.
    fn evictable(&self, model: &Arc<Model>) -> impl Iterator<Item = &Arc<Model>> {
        let may = move |other: &&Arc<Model>| {
            other.weights.is_kept() && !other.is_pinned() && !Arc::ptr_eq(other, model)
        };
        self.list.iter().filter(may)
    }

    /// Eviction victim: of the candidates, the model that was used least recently.
    fn victim(&self, model: &Arc<Model>, stays: &[Arc<Model>]) -> Option<&Arc<Model>> {
        let leaves = |other: &&Arc<Model>| !stays.iter().any(|stays| Arc::ptr_eq(stays, other));
        self.evictable(model).filter(leaves).min_by_key(|other| other.last_use.load(Relaxed))
    }
}

/// An inference by one model.
struct Inference<'a, F> {
    state: &'a Data<State>,
    model: &'a Arc<Model>,
    bytes: F,
    deadline: Instant,
}

impl<F: Fn() -> Option<usize>> Needs for Inference<'_, F> {
    async fn reside(&self) -> Option<Residence> {
        Some(Arc::clone(&self.model.residence).read_owned().await)
    }

    fn demand(&self) -> Demand {
        let bytes = (self.bytes)();
        if self.model.weights.is_kept() {
            return bytes.map_or(Demand::Unknown, Demand::Bytes);
        }
        match self.model.classifier.footprint() {
            // Loading holds some of the file beside the weights.
            Some(known) => {
                Demand::Load(known.weights * 2 + bytes.unwrap_or(known.arena).max(known.arena))
            }
            None => Demand::Unknown,
        }
    }

    fn obtainable(&self) -> usize {
        self.state.models.evictable(self.model).map(|other| other.weights.bytes()).sum()
    }

    async fn make_room(&self) -> Result<(), ApiError> {
        match self.demand() {
            // Others' weights may be what it lacks.
            Demand::Bytes(bytes) => {
                unload_others(self.state, self.model, bytes, self.deadline).await
            }
            _ if self.model.weights.is_kept() => Ok(()),
            _ => make_room(self.state, self.model, self.deadline).await,
        }
    }
}

/// Unloads other models until there is room to load this one, or none is left.
///
/// # Errors
/// [`ApiError::ModelTooLarge`]: there is none then either.
async fn make_room(
    state: &Data<State>,
    model: &Arc<Model>,
    deadline: Instant,
) -> Result<(), ApiError> {
    let (wanted, least) = room(state, model);
    unload_others(state, model, wanted, deadline).await?;
    let available = state.permits.reserved().available;
    if available < least && !state.models.is_only(model) {
        return Err(too_large(state, model, least, available));
    }
    Ok(())
}

/// Unloads other models until so many bytes are available, or none is left.
async fn unload_others(
    state: &Data<State>,
    model: &Arc<Model>,
    wanted: usize,
    deadline: Instant,
) -> Result<(), ApiError> {
    let mut stays = Vec::new();
    while state.permits.reserved().available < wanted {
        let Some(victim) = state.models.victim(model, &stays) else { break };
        if give_up(state, victim, deadline).await? {
            tracing::info!(model = victim.name, for_model = model.name, "model unloaded");
        } else {
            stays.push(Arc::clone(victim));
        }
    }
    Ok(())
}

/// Bytes that loading a model wants, and the least that it can do with.
fn room(state: &State, model: &Model) -> (usize, usize) {
    match model.classifier.footprint() {
        Some(known) => (known.weights * 2 + known.arena, known.weights + known.arena),
        None => {
            let file = usize::try_from(model.classifier.file_bytes()).unwrap_or(usize::MAX);
            let narrowed = state.config.weights == Some(Precision::F16);
            (
                file.saturating_mul(2).saturating_add(UNKNOWN_ARENA),
                file / if narrowed { 2 } else { 1 },
            )
        }
    }
}

fn too_large(state: &State, model: &Model, needed: usize, available: usize) -> ApiError {
    let others = state.models.all().iter().filter(|other| other.weights.is_kept());
    let pinned = others.filter(|other| other.is_pinned() && !std::ptr::eq(&***other, model));
    ApiError::ModelTooLarge {
        model: model.name.clone(),
        needed,
        available,
        pinned: pinned.map(|other| other.weights.bytes()).sum(),
    }
}

/// The needs of replacing a model: memory for a second one beside it, where there is room for both.
pub(crate) struct Reloading<'a> {
    state: &'a Data<State>,
    model: &'a Arc<Model>,
    /// Bytes for a second model; `None`: the old one goes first.
    beside: Option<usize>,
    deadline: Instant,
}

impl<'a> Reloading<'a> {
    pub(crate) fn new(state: &'a Data<State>, model: &'a Arc<Model>, deadline: Instant) -> Self {
        let available = state.permits.reserved().available;
        // As much as it takes, and once more for loading it, which holds some of the file.
        let room = model.classifier.footprint().map(|known| known.weights * 2 + known.arena);
        let beside = room.filter(|&room| model.weights.is_kept() && room <= available);
        Reloading { state, model, beside, deadline }
    }

    /// Whether the old model stays until the new one is loaded.
    pub(crate) fn is_beside(&self) -> bool {
        self.beside.is_some()
    }
}

impl Needs for Reloading<'_> {
    async fn reside(&self) -> Option<Residence> {
        Some(Arc::clone(&self.model.residence).read_owned().await)
    }

    fn demand(&self) -> Demand {
        match self.beside {
            Some(bytes) => Demand::Bytes(bytes),
            None if self.model.weights.is_kept() => Demand::All,
            None => Demand::Unknown,
        }
    }

    async fn make_room(&self) -> Result<(), ApiError> {
        if self.model.weights.is_kept() {
            return Ok(());
        }
        make_room(self.state, self.model, self.deadline).await
    }
}
