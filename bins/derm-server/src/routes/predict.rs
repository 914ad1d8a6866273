//! Prediction: pictures in, classes and heatmaps out.

use crate::answer::Answer;
use crate::answer_body::HeldBody;
use crate::batch::{Batch, Item, open_all};
use crate::clients::Client;
use crate::connections::Connection;
use crate::error::ApiError;
use crate::half_closed::Peer;
use crate::html;
use crate::inference::Inference;
use crate::models::Model;
use crate::parameters::Parameters;
use crate::permits::{UploadPermit, deadline};
use crate::state::State;
use crate::upload::{self, Body, SharedBytes};
use actix_web::body::BoxBody;
use actix_web::http::header::ContentType;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use derm::{Picture, Report};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use tokio::time::Instant;

/// Classifies a picture, and explains the result with a heatmap.
#[cfg_attr(test, utoipa::path(
    post,
    path = "/predict/",
    tag = "predictions",
    responses((status = 200, description = "Classes and heatmaps", body = crate::openapi::Predicted)),
))]
pub(crate) async fn predict(
    request: HttpRequest,
    payload: Payload,
    state: Data<State>,
) -> HttpResponse {
    let page = html::wants_page(request.headers());
    let mut language = html::Language::of(&request, None);
    let answer = answer(&request, payload, &state, &mut language);
    match state.shutdown.or_cancelled(answer).await {
        Ok(Written { server_timing, body }) => {
            let mut response = HttpResponse::Ok();
            response.content_type(if page { ContentType::html() } else { ContentType::json() });
            if let Some(server_timing) = server_timing {
                response.insert_header(("Server-Timing", server_timing));
            }
            response.body(body)
        }
        Err(error) if page => error
            .empty_response()
            .content_type(ContentType::html())
            .body(html::error_page(language, &error.to_string())),
        Err(error) => error.error_response(),
    }
}

/// An answer as it is sent.
struct Written {
    /// Of one picture.
    server_timing: Option<String>,
    body: BoxBody,
}

/// A request whose pictures' headers were read.
struct Opened {
    parameters: Parameters,
    model: Arc<Model>,
    pictures: OpenedPictures,
}

enum OpenedPictures {
    One(Result<(Picture<'static>, UploadPermit, u64), ApiError>),
    Several(SharedBytes, VecDeque<Item>),
}

async fn answer(
    request: &HttpRequest,
    payload: Payload,
    state: &Data<State>,
    language: &mut html::Language,
) -> Result<Written, ApiError> {
    let deadline = deadline(state.config.timeout());
    let client = state.client(request);
    let body = receive(request, payload, state, &client, deadline).await?;
    let peer = request.conn_data::<Rc<Peer>>();
    let _in_work = peer.map(Peer::in_work);
    let shared = state.clone();
    // Base64 and the header of a hostile picture take a while: the event loop does not wait for them.
    let opening = state.background.run(move || open(body, &shared));
    let Opened { parameters, model, pictures } = opening.await??;
    *language = html::Language::of(request, parameters.lang.as_deref());
    let (page, language) = (html::wants_page(request.headers()), *language);
    let asked = parameters.request(state.config.enable_gradcam);
    let insisted = parameters.insists_on_gradcam();
    let write = move |report: Report| {
        let answer = Answer::new(report, language.code(), insisted);
        let bytes = if page {
            html::result_page(language, &answer).into_bytes()
        } else {
            serde_json::to_vec(&answer).map_err(|_| ApiError::Internal)?
        };
        Ok((answer.latency_ms.server_timing(), bytes))
    };
    match pictures {
        OpenedPictures::One(opened) => {
            let (picture, upload, memory) = opened?;
            let inference = Inference { model, request: asked, memory, deadline };
            let job = inference.run(state, &client, move |mut running| {
                let report = running.classify(picture);
                drop(upload);
                let (server_timing, bytes) = write(report?)?;
                let permit = running.into_answer(bytes.len());
                Ok((server_timing, HeldBody::new(bytes, permit)))
            });
            let (server_timing, body) = job.await?;
            Ok(Written { server_timing: Some(server_timing), body: BoxBody::new(body) })
        }
        OpenedPictures::Several(..) if page => {
            Err(ApiError::BadRequest("the page shows one picture; send one".to_owned()))
        }
        OpenedPictures::Several(bytes, items) => {
            let render = Arc::new(move |report| write(report).map(|(_, bytes)| bytes));
            let batch =
                Batch::new(request, state, (model, asked), (bytes, items), deadline, render);
            Ok(Written { server_timing: None, body: batch.into_body("predictions").await? })
        }
    }
}

/// Decodes a body and reads the headers of its pictures. The permit goes with the bytes.
fn open(body: Body, state: &State) -> Result<Opened, ApiError> {
    let upload = body.decode()?;
    let parameters = upload.parameters.clone();
    let model = Arc::clone(state.models.named(parameters.model.as_deref())?);
    let asked = parameters.request(state.config.enable_gradcam);
    let pictures = if upload.has_several() {
        let (bytes, pictures) = upload.into_all();
        let items = open_all(state, &model, &asked, &bytes, pictures);
        OpenedPictures::Several(bytes, items)
    } else {
        let opened = upload.into_only().and_then(|(bytes, permit)| {
            let failed = |error| ApiError::of(error, state.config.timeout());
            let picture = model.classifier.open(bytes).map_err(failed)?;
            let cost = model.classifier.cost(&picture, &asked).map_err(failed)?;
            Ok((picture, permit, cost.picture))
        });
        OpenedPictures::One(opened)
    };
    Ok(Opened { parameters, model, pictures })
}

/// Reads the body; the connection knows that its client is to send.
async fn receive(
    request: &HttpRequest,
    payload: Payload,
    state: &State,
    client: &Arc<Client>,
    deadline: Instant,
) -> Result<Body, ApiError> {
    let connection = request.conn_data::<Arc<Connection>>();
    connection.inspect(|connection| connection.body());
    let (config, permits) = (&state.config, &state.permits);
    let body =
        upload::receive(request, payload, config, permits, Arc::clone(client), deadline).await;
    connection.inspect(|connection| connection.request());
    body
}
