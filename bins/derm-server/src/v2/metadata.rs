//! What the server and its models are, and whether they are ready.

use super::elements::datatype;
use super::input::IMAGE;
use super::types::{
    ConfigTensor, Live, MetadataParameters, ModelConfig, ModelMetadata, Ready, ServerMetadata,
    TensorMetadata,
};
use crate::error::ApiError;
use crate::lifecycle::{Readiness, begin_to_check};
use crate::models::{Availability, Model};
use crate::routes::description;
use crate::state::State;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use derm::{Description, Manifest, Output};
use std::sync::Arc;

const PLATFORM: &str = "onnx_derm";

/// What the server is.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/v2",
    tag = "v2",
    responses((status = 200, description = "The server", body = ServerMetadata)),
))]
pub(crate) fn server() -> HttpResponse {
    HttpResponse::Ok().json(ServerMetadata {
        name: "derm-server",
        version: env!("CARGO_PKG_VERSION"),
        extensions: [
            "classification",
            "model_configuration",
            "model_repository",
            "binary_tensor_data",
        ],
    })
}

/// Whether the process responds.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/v2/health/live",
    tag = "v2",
    responses((status = 200, description = "It responds", body = Live)),
))]
pub(crate) fn live() -> HttpResponse {
    HttpResponse::Ok().json(Live { live: true })
}

/// Whether the server is ready: as `/readyz`.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/v2/health/ready",
    tag = "v2",
    responses(
        (status = 200, description = "It is ready", body = Ready),
        (status = 503, description = "It is not ready", body = Ready),
    ),
))]
pub(crate) fn ready(state: &Data<State>) -> HttpResponse {
    let readiness = state.lifecycle.readiness();
    if readiness == Readiness::Unchecked {
        begin_to_check(state, state.models.default());
    }
    answer(Ready { name: None, ready: readiness == Readiness::Ready })
}

/// Whether a model is ready. The first call that finds it unchecked has it checked; one that was unloaded on
/// request is ready again when it is loaded or used.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/v2/models/{model}/ready",
    tag = "v2",
    responses(
        (status = 200, description = "It is ready", body = Ready),
        (status = 503, description = "It is not ready", body = Ready),
    ),
))]
pub(crate) fn model_ready(state: &Data<State>, model: &Arc<Model>) -> HttpResponse {
    answer(Ready { name: Some(model.name.clone()), ready: is_ready(state, model) })
}

/// Whether a model can be used; begins to check one that was not.
pub(crate) fn is_ready(state: &Data<State>, model: &Arc<Model>) -> bool {
    let availability = model.availability();
    if availability == Availability::Unchecked && !state.lifecycle.is_draining() {
        begin_to_check(state, model);
    }
    availability == Availability::Ready && !state.lifecycle.is_draining()
}

fn answer(ready: Ready) -> HttpResponse {
    let mut response =
        if ready.ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    response.json(ready)
}

/// What a model takes and answers. Loads it if it is not loaded: only its graph knows the input's name.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/v2/models/{model}",
    tag = "v2",
    responses((status = 200, description = "The model's inputs and outputs", body = ModelMetadata)),
))]
pub(crate) async fn model(
    request: &HttpRequest,
    state: &Data<State>,
    model: &Arc<Model>,
) -> Result<HttpResponse, ApiError> {
    let work = description(request, state, model);
    let described = state.shutdown.or_cancelled(work).await?;
    Ok(HttpResponse::Ok().json(ModelMetadata {
        name: model.name.clone(),
        versions: [model.version()],
        platform: PLATFORM,
        inputs: inputs(&described),
        outputs: outputs(&described.manifest),
        parameters: MetadataParameters {
            digest: described.digest.to_string(),
            layout: described.manifest.input.layout,
        },
    }))
}

/// The same as Triton's model configuration. Loads the model if it is not loaded.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/v2/models/{model}/config",
    tag = "v2",
    responses((status = 200, description = "Its configuration", body = ModelConfig)),
))]
pub(crate) async fn config(
    request: &HttpRequest,
    state: &Data<State>,
    model: &Arc<Model>,
) -> Result<HttpResponse, ApiError> {
    let work = description(request, state, model);
    let described = state.shutdown.or_cancelled(work).await?;
    let tensor = |optional| {
        move |tensor: TensorMetadata| ConfigTensor {
            name: tensor.name,
            data_type: match tensor.datatype {
                "BYTES" => "TYPE_STRING".to_owned(),
                datatype => format!("TYPE_{datatype}"),
            },
            dims: tensor.shape,
            optional,
        }
    };
    Ok(HttpResponse::Ok().json(ModelConfig {
        name: model.name.clone(),
        platform: PLATFORM,
        backend: "derm",
        max_batch_size: 0,
        input: inputs(&described).into_iter().map(tensor(true)).collect(),
        output: outputs(&described.manifest).into_iter().map(tensor(false)).collect(),
    }))
}

/// What a model takes: encoded pictures, or its graph's own input.
fn inputs(described: &Description) -> Vec<TensorMetadata> {
    let input = &described.input;
    let axes = input.shape[1..].iter().map(|&axis| axis as i64);
    vec![
        TensorMetadata { name: IMAGE.to_owned(), datatype: "BYTES", shape: vec![-1] },
        TensorMetadata {
            name: input.name.clone(),
            datatype: datatype(input.element),
            shape: [-1].into_iter().chain(axes).collect(),
        },
    ]
}

/// What a model can answer.
fn outputs(manifest: &Manifest) -> Vec<TensorMetadata> {
    let classes = manifest.classes.len() as i64;
    let tensor = |name: &str, datatype, shape: &[i64]| TensorMetadata {
        name: name.to_owned(),
        datatype,
        shape: [&[-1], shape].concat(),
    };
    let mut outputs = vec![tensor("probabilities", "FP32", &[classes])];
    if manifest.output == Output::Logits {
        outputs.push(tensor("logits", "FP32", &[classes]));
    }
    outputs.push(tensor("label", "BYTES", &[]));
    if manifest.uncertain.is_some() {
        outputs.push(tensor("ood_score", "FP32", &[]));
    }
    outputs.push(tensor("heatmap", "FP32", &[-1, -1]));
    outputs.push(tensor("overlay", "BYTES", &[]));
    outputs
}
