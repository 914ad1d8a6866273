//! KServe's protocol, version 1, which is also TensorFlow Serving's: `instances` of pictures in base64.

use crate::answer::{Heatmap, unexplained};
use crate::batch::{Batch, open_all};
use crate::error::ApiError;
use crate::half_closed::Peer;
use crate::models::Model;
use crate::parameters::Parameters;
use crate::permits::deadline;
use crate::routes::{READ, check_method, segments};
use crate::state::State;
use crate::upload::{self, SharedBytes};
use crate::v2::is_ready;
use actix_web::http::header::ContentType;
use actix_web::web::{self, Data, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use derm::Report;
use serde::Serialize;
use std::rc::Rc;
use std::sync::Arc;

/// Registers every path.
pub(crate) fn configure(config: &mut ServiceConfig) {
    config.service(web::scope("/v1").default_service(web::to(route)));
}

async fn route(
    request: HttpRequest,
    payload: Payload,
    state: Data<State>,
) -> Result<HttpResponse, ApiError> {
    let segments = segments(&request);
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (named, version) = match segments[..] {
        ["models"] => return check_method(&request, READ).map(|()| models(&state)),
        ["models", model] => (model, None),
        ["models", model, "versions", version] => (model, Some(version)),
        _ => return Err(ApiError::NotFound),
    };
    // The verb is at the end of the path.
    let last = version.unwrap_or(named);
    let (last, explains) = match last.rsplit_once(':') {
        Some((last, "predict")) => (last, Some(false)),
        Some((last, "explain")) => (last, Some(true)),
        _ => (last, None),
    };
    let (named, version) = if version.is_some() { (named, Some(last)) } else { (last, None) };
    check_method(&request, if explains.is_some() { "POST" } else { READ })?;
    let model = state.models.of_version(named, version)?;
    match explains {
        Some(true) => explain(&request, payload, &state, model).await,
        Some(false) => predict(&request, payload, &state, model).await,
        None => Ok(status(&state, &model)),
    }
}

/// `GET /v1/models`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct ModelList {
    /// Names of the models.
    models: Vec<String>,
}

/// `GET /v1/models/{model}`: as KServe and as TensorFlow Serving have it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct ModelStatus {
    /// Name of the model.
    name: String,
    /// Whether it can be used.
    ready: bool,
    /// Its only version.
    #[cfg_attr(test, schema(value_type = Vec<VersionStatus>))]
    model_version_status: [VersionStatus; 1],
}

/// The state of a version.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct VersionStatus {
    version: String,
    /// `AVAILABLE`, or `LOADING` before it was loaded and run once.
    state: &'static str,
    status: ErrorStatus,
}

/// TensorFlow Serving's word for a fault.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct ErrorStatus {
    error_code: &'static str,
    error_message: &'static str,
}

/// An element of `predictions`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = V1Prediction))]
pub(crate) struct Prediction {
    /// The most probable class.
    label: String,
    /// 0..=1, in the order of the model's classes.
    probabilities: Vec<f32>,
    /// Whether the picture is out of distribution; null: the model cannot tell.
    uncertain: Option<bool>,
    /// The score behind that.
    ood_score: Option<f32>,
}

/// An element of `explanations`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = V1Explanation))]
pub(crate) struct Explanation {
    /// The most probable class.
    label: String,
    /// Each class that is explained.
    heatmaps: Vec<Heatmap>,
}

/// Names of the models.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/v1/models",
    tag = "v1",
    responses((status = 200, description = "The names", body = ModelList)),
))]
pub(crate) fn models(state: &State) -> HttpResponse {
    let models = state.models.all().iter().map(|model| model.name.clone()).collect();
    HttpResponse::Ok().json(ModelList { models })
}

/// Whether a model can be used. The first call that finds it unchecked has it checked.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/v1/models/{model}",
    tag = "v1",
    responses(
        (status = 200, description = "It is ready", body = ModelStatus),
        (status = 503, description = "It is not ready", body = ModelStatus),
    ),
))]
pub(crate) fn status(state: &Data<State>, model: &Arc<Model>) -> HttpResponse {
    let ready = is_ready(state, model);
    let status = ModelStatus {
        name: model.name.clone(),
        ready,
        model_version_status: [VersionStatus {
            version: model.version(),
            state: if ready { "AVAILABLE" } else { "LOADING" },
            status: ErrorStatus { error_code: "OK", error_message: "" },
        }],
    };
    let mut response = if ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    response.json(status)
}

/// Classifies pictures.
#[cfg_attr(test, utoipa::path(
    post,
    path = "/v1/models/{model}:predict",
    tag = "v1",
    responses((status = 200, description = "A prediction of each", body = crate::openapi::V1Predictions)),
))]
pub(crate) async fn predict(
    request: &HttpRequest,
    payload: Payload,
    state: &Data<State>,
    model: Arc<Model>,
) -> Result<HttpResponse, ApiError> {
    answer(request, payload, state, model, false).await
}

/// Explains the classification of pictures with heatmaps.
#[cfg_attr(test, utoipa::path(
    post,
    path = "/v1/models/{model}:explain",
    tag = "v1",
    responses((status = 200, description = "Heatmaps of each", body = crate::openapi::V1Explanations)),
))]
pub(crate) async fn explain(
    request: &HttpRequest,
    payload: Payload,
    state: &Data<State>,
    model: Arc<Model>,
) -> Result<HttpResponse, ApiError> {
    answer(request, payload, state, model, true).await
}

async fn answer(
    request: &HttpRequest,
    payload: Payload,
    state: &Data<State>,
    model: Arc<Model>,
    explains: bool,
) -> Result<HttpResponse, ApiError> {
    let answer = async {
        let batch = batch(request, payload, state, model, explains).await?;
        let peer = request.conn_data::<Rc<Peer>>();
        let _in_work = peer.map(Peer::in_work);
        batch.into_body(if explains { "explanations" } else { "predictions" }).await
    };
    let body = state.shutdown.or_cancelled(answer).await?;
    Ok(HttpResponse::Ok().content_type(ContentType::json()).body(body))
}

/// The instances of a request.
async fn batch(
    request: &HttpRequest,
    payload: Payload,
    state: &Data<State>,
    model: Arc<Model>,
    explains: bool,
) -> Result<Batch, ApiError> {
    if explains && !state.config.enable_gradcam {
        let reason = "heatmaps are switched off on this server (ENABLE_GRADCAM)".to_owned();
        return Err(ApiError::Parameter { name: "explain".to_owned(), reason });
    }
    let mut parameters = Parameters::from_query(request.query_string())?;
    let deadline = deadline(state.config.timeout());
    let (mut body, permit) = upload::receive_plain(request, payload, state, deadline).await?;
    let peer = request.conn_data::<Rc<Peer>>();
    let _in_work = peer.map(Peer::in_work);
    let (shared, opened) = (state.clone(), Arc::clone(&model));
    let opening = state.background.run(move || {
        let max_upload = shared.config.max_upload_bytes;
        let pictures = upload::read_json(&mut body, &mut parameters, max_upload)?;
        if pictures.is_empty() {
            let message = "there is no instance; send {\"instances\": [{\"b64\": \"<base64>\"}]}";
            return Err(ApiError::BadRequest(message.to_owned()));
        }
        let mut asked = parameters.request(explains);
        asked.top_k = None;
        let bytes = SharedBytes::new(body, permit);
        let items = open_all(&shared, &opened, &asked, &bytes, pictures);
        Ok((asked, bytes, items))
    });
    let (asked, bytes, items) = opening.await??;
    let render = Arc::new(if explains { explanation } else { prediction });
    Ok(Batch::new(request, state, (model, asked), (bytes, items), deadline, render))
}

/// Writes an element of `predictions`.
fn prediction(report: Report) -> Result<Vec<u8>, ApiError> {
    let mut probabilities = vec![0.0; report.manifest.classes.len()];
    report.predictions.iter().for_each(|one| probabilities[one.index] = one.probability);
    written(&Prediction {
        label: label(&report),
        probabilities,
        uncertain: report.uncertain.map(|known| known.is_uncertain()),
        ood_score: report.uncertain.map(|known| known.score),
    })
}

/// Writes an element of `explanations`.
fn explanation(report: Report) -> Result<Vec<u8>, ApiError> {
    let label = label(&report);
    let heatmaps = match report.explanations {
        Some(Ok(explanations)) => explanations.into_iter().map(Heatmap::of).collect(),
        Some(Err(reason)) => {
            let (name, reason) = ("explain".to_owned(), unexplained(&reason));
            return Err(ApiError::Parameter { name, reason });
        }
        None => Vec::new(),
    };
    written(&Explanation { label, heatmaps })
}

fn label(report: &Report) -> String {
    report.predictions.first().map(|first| first.class.clone()).unwrap_or_default()
}

fn written(element: &impl Serialize) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(element).map_err(|_| ApiError::Internal)
}
