//! The Open Inference Protocol, version 2, over REST
//! (<https://github.com/kserve/open-inference-protocol>), with Triton's extensions for binary tensors,
//! classification, model configuration and the model repository.

mod bounded;
mod elements;
mod infer;
mod input;
mod metadata;
mod outputs;
mod repository;
mod types;

pub(crate) use infer::HEADER_LENGTH;
pub(crate) use metadata::is_ready;

use crate::error::ApiError;
use crate::excerpt::quoted;
use crate::models::Model;
use crate::routes::not_allowed;
use crate::state::State;
use actix_web::web::{self, ServiceConfig};
use actix_web::{Resource, guard};
use std::sync::Arc;

/// Registers every path.
pub(crate) fn configure(config: &mut ServiceConfig) {
    let get = || web::route().guard(guard::Any(guard::Get()).or(guard::Head()));
    let service = |path: &str, route, allowed| {
        let resource: Resource = web::resource(path).route(route);
        resource.default_service(web::to(move |request| not_allowed(request, allowed)))
    };
    const GET: &str = "GET, HEAD";
    config
        .service(service("/v2", get().to(metadata::server), GET))
        .service(service("/v2/health/live", get().to(metadata::live), GET))
        .service(service("/v2/health/ready", get().to(metadata::ready), GET))
        .service(service("/v2/repository/index", web::post().to(repository::index), "POST"));
    for (action, post) in
        [("load", web::post().to(repository::load)), ("unload", web::post().to(repository::unload))]
    {
        let path = format!("/v2/repository/models/{{model}}/{action}");
        config.service(service(&path, post, "POST"));
    }
    for version in ["", "/versions/{version}"] {
        let model = format!("/v2/models/{{model}}{version}");
        config
            .service(service(&model, get().to(metadata::model), GET))
            .service(service(&format!("{model}/ready"), get().to(metadata::model_ready), GET))
            .service(service(&format!("{model}/config"), get().to(metadata::config), GET))
            .service(service(&format!("{model}/infer"), web::post().to(infer::infer), "POST"));
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

/// The model and the version that a path names.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct ModelPath {
    model: String,
    #[serde(default)]
    version: Option<String>,
}

impl ModelPath {
    /// The model of this name and version.
    ///
    /// # Errors
    /// [`ApiError::UnknownModel`].
    pub(crate) fn find(&self, state: &State) -> Result<Arc<Model>, ApiError> {
        let unknown = || ApiError::UnknownModel(quoted(&self.model));
        let model = state.models.get(&self.model).ok_or_else(unknown)?;
        let version = model.version();
        match &self.version {
            Some(asked) if *asked != version => Err(ApiError::UnknownModel(format!(
                "{} of version {}; there is version {version}",
                quoted(&self.model),
                quoted(asked)
            ))),
            _ => Ok(Arc::clone(model)),
        }
    }
}
