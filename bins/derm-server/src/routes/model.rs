//! A model that is served, and what can be asked of it.

use crate::error::ApiError;
use crate::half_closed::Peer;
use crate::models::{Model, admit, keep_weights};
use crate::parameters::Parameters;
use crate::permits::deadline;
use crate::state::State;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use derm::{Description, Digest, LayerInfo, Method};
use serde::Serialize;
use std::rc::Rc;
use std::sync::Arc;

/// What a model is.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Model))]
pub(crate) struct ModelAnswer {
    /// Its manifest's name.
    name: String,
    version: String,
    /// SHA-256 of its files.
    #[cfg_attr(test, schema(value_type = String))]
    digest: Digest,
    /// License of the weights; null where the manifest does not state it.
    license: Option<String>,
    classes: Vec<ClassName>,
    input: InputSize,
    /// Methods of explanation.
    #[cfg_attr(test, schema(value_type = Vec<String>))]
    methods: Vec<Method>,
    /// The layers that can be explained, in order of computation.
    layers: Vec<LayerAnswer>,
}

/// A class that a model knows.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct ClassName {
    /// Its id.
    class: String,
    /// Its name in English.
    label: String,
}

/// Size of a network's input, pixels.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct InputSize {
    width: u32,
    height: u32,
}

/// A layer that can be explained.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct LayerAnswer {
    index: usize,
    /// Name of its ONNX node.
    name: String,
    /// Shape of its value.
    shape: Vec<usize>,
}

/// The model that is served; `model` names one of several. Loads it if it is not loaded: only its graph knows the layers.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/model/",
    tag = "model",
    responses((status = 200, description = "The model", body = ModelAnswer)),
))]
pub(crate) async fn model(
    request: HttpRequest,
    state: Data<State>,
) -> Result<HttpResponse, ApiError> {
    let peer = request.conn_data::<Rc<Peer>>();
    let _in_work = peer.map(Peer::in_work);
    state.shutdown.or_cancelled(describe(&request, &state)).await
}

/// What a model is; loads it if it is not loaded.
pub(crate) async fn description(
    request: &HttpRequest,
    state: &Data<State>,
    model: &Arc<Model>,
) -> Result<Description, ApiError> {
    let deadline = deadline(state.config.timeout());
    let known = || model.classifier.footprint().map(|_| 1);
    let client = state.client(request);
    let mut permit = admit(state, model, &client, known, deadline).await?;
    let (shared, described) = (state.clone(), Arc::clone(model));
    let job = state.inferences.run(move || {
        let description = described.classifier.describe(deadline.into_std());
        keep_weights(&shared, &described, &mut permit)?;
        description.map_err(|error| ApiError::of(error, shared.config.timeout()))
    });
    job.await?
}

async fn describe(request: &HttpRequest, state: &Data<State>) -> Result<HttpResponse, ApiError> {
    let parameters = Parameters::from_query(request.query_string())?;
    let model = state.models.named(parameters.model.as_deref())?;
    let described = description(request, state, model).await?;
    Ok(HttpResponse::Ok().json(ModelAnswer::of(described)))
}

impl ModelAnswer {
    fn of(described: Description) -> ModelAnswer {
        let manifest = described.manifest;
        let class = |class: &derm::Class| ClassName {
            class: class.id.clone(),
            label: class.label_in("en").to_owned(),
        };
        let layer = |(index, layer): (usize, LayerInfo)| LayerAnswer {
            index,
            name: layer.name,
            shape: layer.shape,
        };
        ModelAnswer {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            digest: described.digest,
            license: manifest.license.clone(),
            classes: manifest.classes.iter().map(class).collect(),
            input: InputSize { width: manifest.input.width, height: manifest.input.height },
            methods: Method::ALL.to_vec(),
            layers: described.layers.into_iter().enumerate().map(layer).collect(),
        }
    }
}
