//! `POST /v2/models/{model}/infer`.

use super::elements::Tensors;
use super::input::{self, Asked, Input};
use super::outputs::{Outputs, Value, error_parameters};
use super::types::InferResponse;
use crate::answer_body::HeldBody;
use crate::batch::{Item, open_all};
use crate::error::ApiError;
use crate::half_closed::Peer;
use crate::inference::{Inference, Running};
use crate::models::Model;
use crate::parameters::Parameters;
use crate::permits::deadline;
use crate::routes::description;
use crate::state::State;
use crate::upload::{self, SharedBytes};
use actix_web::body::BoxBody;
use actix_web::http::header::{ContentType, HeaderMap, HeaderName};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use derm::Request;
use std::rc::Rc;
use std::sync::{Arc, Weak};

/// Bytes of a body that are JSON; binary tensors follow.
pub(crate) const HEADER_LENGTH: HeaderName =
    HeaderName::from_static("inference-header-content-length");

/// Parameters of a prediction that a request may have; others are ignored. What else there is, is said by the
/// request's outputs.
pub(crate) const PARAMETERS: [&str; 10] =
    ["class", "method", "layer", "smooth", "scale", "tta", "colormap", "alpha", "contour", "size"];

/// Classifies pictures or tensors, in JSON or as binary data after the JSON; with a header length of 0, the
/// body is the file of one picture.
#[cfg_attr(test, utoipa::path(
    post,
    path = "/v2/models/{model}/infer",
    tag = "v2",
    responses((status = 200, description = "The outputs", body = InferResponse)),
))]
pub(crate) async fn infer(
    request: &HttpRequest,
    payload: Payload,
    state: &Data<State>,
    model: Arc<Model>,
) -> Result<HttpResponse, ApiError> {
    let answer = answer(request, payload, state, model);
    let (body, header) = state.shutdown.or_cancelled(answer).await?;
    let mut response = HttpResponse::Ok();
    match header {
        Some(length) => {
            response.content_type(ContentType::octet_stream());
            response.insert_header((HEADER_LENGTH, length));
        }
        None => {
            response.content_type(ContentType::json());
        }
    }
    Ok(response.body(BoxBody::new(body)))
}

/// What is classified.
enum Subjects {
    Pictures(SharedBytes, Vec<Item>),
    Tensors(SharedBytes, Tensors),
}

async fn answer(
    request: &HttpRequest,
    payload: Payload,
    state: &Data<State>,
    model: Arc<Model>,
) -> Result<(HeldBody, Option<usize>), ApiError> {
    let deadline = deadline(state.config.timeout());
    let client = state.client(request);
    let header = header_length(request.headers())?;
    let (body, permit) = upload::receive_plain(request, payload, state, deadline).await?;
    let peer = request.conn_data::<Rc<Peer>>();
    let _in_work = peer.map(Peer::in_work);

    let reading = move || {
        let (asked, input) = input::read(&body, header)?;
        Ok((body, asked, input))
    };
    let (body, asked, input) = state.background.run(reading).await??;
    let graph_input = match input.is_encoded() {
        true => None,
        false => Some(description(request, state, &model).await?.input),
    };
    let (shared, opened) = (state.clone(), Arc::clone(&model));
    let opening = state.background.run(move || {
        let outputs = Outputs::new(&asked, &opened.classifier.manifest())?;
        let request = request_of(&asked, &outputs, &shared)?;
        let subjects = open(body, permit, input, graph_input, (&shared, &opened, &request))?;
        Ok::<_, ApiError>((asked, outputs, request, subjects))
    });
    let (asked, outputs, request, subjects) = opening.await??;
    let memory = memory(&model, &outputs, &request, &subjects)?;
    let response = InferResponse {
        model_name: model.name.clone(),
        model_version: model.version(),
        id: asked.id,
        parameters: error_parameters(&[]),
        outputs: Vec::new(),
    };
    let inference = Inference { model, request, memory, deadline };
    // The work ends with the client's interest.
    let interest = Arc::new(());
    let alive = Arc::downgrade(&interest);
    let job = inference.run(state, &client, move |mut running| {
        let (rows, failures) = run(&mut running, subjects, &outputs, &alive)?;
        let response = InferResponse { parameters: error_parameters(&failures), ..response };
        let (bytes, header) = outputs.write(response, rows)?;
        let permit = running.into_answer(bytes.len());
        Ok((HeldBody::new(bytes, permit), header))
    });
    let answered = job.await;
    drop(interest);
    answered
}

/// Bytes of the body that are JSON; `None`: all.
fn header_length(headers: &HeaderMap) -> Result<Option<usize>, ApiError> {
    let Some(value) = headers.get(HEADER_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|value| value.trim().parse().ok());
    let bad = || ApiError::BadRequest("Inference-Header-Content-Length is not a number".to_owned());
    length.map(Some).ok_or_else(bad)
}

/// What is asked of each picture: the parameters of a prediction that the request has.
fn request_of(asked: &Asked, outputs: &Outputs, state: &State) -> Result<Request, ApiError> {
    let mut parameters = Parameters::default();
    let read = asked.parameters.iter().filter(|(name, _)| PARAMETERS.contains(&name.as_str()));
    for (name, value) in read {
        upload::set_json_parameter(&mut parameters, name, value)?;
    }
    let explains = outputs.need_explanation();
    if explains && !state.config.enable_gradcam {
        let reason = "heatmaps are switched off on this server (ENABLE_GRADCAM)".to_owned();
        return Err(ApiError::Parameter { name: "heatmap".to_owned(), reason });
    }
    let mut request = parameters.request(explains);
    request.explain = request.explain.map(|explain| outputs.explain(explain));
    if request.described().is_some_and(|explain| explain.classes.len() > 1) {
        let reason = "name one class; it is explained of each picture".to_owned();
        return Err(ApiError::Parameter { name: "class".to_owned(), reason });
    }
    Ok(request)
}

/// Finds the pictures or tensors of a body. The permit goes with its bytes.
fn open(
    mut body: Vec<u8>,
    permit: crate::permits::UploadPermit,
    input: Input,
    graph_input: Option<derm::GraphInput>,
    (state, model, request): (&State, &Model, &Request),
) -> Result<Subjects, ApiError> {
    if let Some(graph_input) = graph_input {
        let tensors = input.into_tensors(&body, &graph_input)?;
        if request.explain.as_ref().is_some_and(|explain| explain.drawing == derm::Drawing::Overlay)
        {
            let message =
                "the output overlay needs an encoded picture; a tensor has a heatmap only";
            return Err(ApiError::BadRequest(message.to_owned()));
        }
        return Ok(Subjects::Tensors(SharedBytes::new(body, permit), tensors));
    }
    let pictures = input.into_pictures(&mut body, state.config.max_upload_bytes)?;
    let bytes = SharedBytes::new(body, permit);
    let items = open_all(state, model, request, &bytes, pictures);
    Ok(Subjects::Pictures(bytes, items.into()))
}

/// Bytes that the request takes beside the arenas: for the largest of its pictures, and for the
/// outputs of all.
fn memory(
    model: &Model,
    outputs: &Outputs,
    request: &Request,
    subjects: &Subjects,
) -> Result<u64, ApiError> {
    let (count, largest) = match subjects {
        Subjects::Pictures(_, items) => {
            let costs = items.iter().filter_map(|item| item.as_ref().ok().map(|(_, cost)| *cost));
            (items.len(), costs.max().unwrap_or(0))
        }
        Subjects::Tensors(_, tensors) => {
            let cost = model.classifier.tensor_cost(request);
            let limit = std::time::Duration::MAX;
            (tensors.count(), cost.map_err(|error| ApiError::of(error, limit))?.picture)
        }
    };
    Ok(largest + count as u64 * outputs.bytes_of_one(&model.classifier.manifest(), request))
}

/// The values of each picture, and the errors of those that have none.
type Rows = (Vec<Option<Vec<Value>>>, Vec<(usize, ApiError)>);

/// Classifies one after the other. One that fails fails alone, unless it is the only one, or all do.
fn run(
    running: &mut Running,
    subjects: Subjects,
    outputs: &Outputs,
    alive: &Weak<()>,
) -> Result<Rows, ApiError> {
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    let mut add = |found: Result<Vec<Value>, ApiError>| {
        if alive.strong_count() == 0 {
            return Err(ApiError::ShuttingDown);
        }
        match found {
            Err(error) if !error.is_of_picture() => return Err(error),
            Err(error) => {
                failures.push((rows.len(), error));
                rows.push(None);
            }
            Ok(values) => rows.push(Some(values)),
        }
        Ok(())
    };
    match subjects {
        Subjects::Pictures(bytes, items) => {
            for item in items {
                let report = item.and_then(|(range, _)| running.classify_bytes(&bytes[range]));
                add(report.and_then(|report| outputs.values(report)))?;
            }
        }
        Subjects::Tensors(bytes, mut tensors) => {
            for _ in 0..tensors.count() {
                let values = tensors.next(&bytes);
                let report = values.and_then(|values| running.classify_tensor(&values));
                add(report.and_then(|report| outputs.values(report)))?;
            }
        }
    }
    if failures.len() == rows.len() && !failures.is_empty() {
        return Err(failures.swap_remove(0).1);
    }
    Ok((rows, failures))
}
