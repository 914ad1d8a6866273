//! The Open Inference Protocol, version 2, over REST
//! (<https://github.com/kserve/open-inference-protocol>), with Triton's extensions for binary tensors,
//! classification, model configuration and the model repository.

mod elements;
pub(crate) mod infer;
mod input;
pub(crate) mod metadata;
mod outputs;
pub(crate) mod repository;
mod types;

#[cfg(test)]
pub(crate) use elements::datatype;
pub(crate) use infer::HEADER_LENGTH;
#[cfg(test)]
pub(crate) use infer::PARAMETERS;
#[cfg(test)]
pub(crate) use input::IMAGE;
pub(crate) use metadata::is_ready;
#[cfg(test)]
pub(crate) use types::MOST;

use crate::error::ApiError;
use crate::routes::{READ, check_method, segments};
use crate::state::State;
use actix_web::web::{self, Data, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

/// Registers every path.
pub(crate) fn configure(config: &mut ServiceConfig) {
    config.service(web::scope("/v2").default_service(web::to(answer)));
}

async fn answer(
    request: HttpRequest,
    payload: Payload,
    state: Data<State>,
) -> Result<HttpResponse, ApiError> {
    let segments = segments(&request);
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let method = |allowed| check_method(&request, allowed);
    match segments[..] {
        [] => method(READ).map(|()| metadata::server()),
        ["health", "live"] => method(READ).map(|()| metadata::live()),
        ["health", "ready"] => method(READ).map(|()| metadata::ready(&state)),
        ["repository", "index"] => {
            method("POST")?;
            repository::index(&request, payload, &state).await
        }
        ["repository", "models", model, "load"] => {
            method("POST")?;
            repository::load(&request, &state, model).await
        }
        ["repository", "models", model, "unload"] => {
            method("POST")?;
            repository::unload(&request, &state, model).await
        }
        ["models", model, "versions", version, ref rest @ ..] => {
            of_model(&request, payload, &state, (model, Some(version)), rest).await
        }
        ["models", model, ref rest @ ..] => {
            of_model(&request, payload, &state, (model, None), rest).await
        }
        _ => Err(ApiError::NotFound),
    }
}

/// What lies below the path of a model.
async fn of_model(
    request: &HttpRequest,
    payload: Payload,
    state: &Data<State>,
    (name, version): (&str, Option<&str>),
    rest: &[&str],
) -> Result<HttpResponse, ApiError> {
    check_method(request, if *rest == ["infer"] { "POST" } else { READ })?;
    let model = state.models.of_version(name, version)?;
    match *rest {
        [] => metadata::model(request, state, &model).await,
        ["ready"] => Ok(metadata::model_ready(state, &model)),
        ["config"] => metadata::config(request, state, &model).await,
        ["infer"] => infer::infer(request, payload, state, model).await,
        _ => Err(ApiError::NotFound),
    }
}

/// Reads the body of an inference, for fuzzing; returns how many pictures or tensors it has.
///
/// # Errors
/// [`ApiError::BadRequest`].
#[cfg(fuzzing)]
pub(crate) fn read_request(
    body: &mut [u8],
    header: Option<usize>,
    max_upload: usize,
) -> Result<usize, ApiError> {
    let (_, input) = input::read(body, header)?;
    if input.is_encoded() {
        return Ok(input.into_pictures(body, max_upload)?.len());
    }
    let (name, element) = ("x".to_owned(), derm::ElementType::F32);
    let graph = derm::GraphInput { name, element, shape: [1, 3, 2, 2], factor: 1.0 };
    let mut tensors = input.into_tensors(body, &graph)?;
    (0..tensors.count()).try_for_each(|_| tensors.next(body).map(drop))?;
    Ok(tensors.count())
}

/// The error of a body that is not what the protocol says.
fn bad(message: impl Into<String>) -> ApiError {
    ApiError::BadRequest(message.into())
}
