//! The model that is served, and what can be asked of it.

use crate::error::ApiError;
use crate::half_closed::Peer;
use crate::permits::{Demand, deadline};
use crate::state::State;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use derm::{Digest, Method};
use serde::Serialize;
use std::rc::Rc;

/// The model that is served, and what can be asked of it.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Model))]
struct Answer<'a> {
    name: &'a str,
    version: &'a str,
    /// SHA-256 of the model's files.
    #[cfg_attr(test, schema(value_type = String))]
    digest: Digest,
    /// License of the weights; null: the manifest does not state it.
    license: Option<&'a str>,
    classes: Vec<Class<'a>>,
    input: Input,
    /// The methods of explanation.
    #[cfg_attr(test, schema(value_type = Vec<String>))]
    methods: &'static [Method],
    /// The layers that can be explained, in order of computation.
    layers: Vec<Layer<'a>>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
struct Class<'a> {
    class: &'a str,
    label: &'a str,
}

/// Size of the network's input, pixels.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = InputSize))]
struct Input {
    width: u32,
    height: u32,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
struct Layer<'a> {
    index: usize,
    name: &'a str,
    shape: &'a [usize],
}

/// The model that is served. Loads it if it is not loaded: only its graph knows the layers.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/model/",
    tag = "model",
    responses((status = 200, description = "The model", body = Answer)),
))]
pub(crate) async fn model(
    request: HttpRequest,
    state: Data<State>,
) -> Result<HttpResponse, ApiError> {
    let peer = request.conn_data::<Rc<Peer>>();
    let _in_work = peer.map(Peer::in_work);
    state.shutdown.or_cancelled(describe(&request, &state)).await
}

async fn describe(request: &HttpRequest, state: &Data<State>) -> Result<HttpResponse, ApiError> {
    let deadline = deadline(state.config.timeout());
    let demand = || match state.classifier.footprint() {
        Some(_) if state.permits.weights_kept() => Demand::Bytes(1),
        _ => Demand::Unknown,
    };
    let client = state.client(request);
    let mut permit = state.permits.inference(&client, demand, deadline).await?;
    let shared = state.clone();
    let job = state.inferences.run(move || {
        let described = shared.classifier.describe(deadline.into_std());
        if let Some(footprint) = shared.classifier.footprint() {
            shared.permits.keep_for_weights(&mut permit, footprint.weights);
        }
        described
    });
    let described = job.await?.map_err(|error| ApiError::of(error, state.config.timeout()))?;
    let layers = described.layers.iter().enumerate();
    let layers =
        layers.map(|(index, layer)| Layer { index, name: &layer.name, shape: &layer.shape });
    let manifest = &described.manifest;
    let classes = manifest.classes.iter();
    let classes = classes.map(|class| Class { class: &class.id, label: class.label_in("en") });
    Ok(HttpResponse::Ok().json(Answer {
        name: &manifest.name,
        version: &manifest.version,
        digest: described.digest,
        license: manifest.license.as_deref(),
        classes: classes.collect(),
        input: Input { width: manifest.input.width, height: manifest.input.height },
        methods: &Method::ALL,
        layers: layers.collect(),
    }))
}
