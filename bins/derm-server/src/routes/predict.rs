//! Prediction: a picture in, classes and heatmaps out.

use crate::answer::Answer;
use crate::answer_body::HeldBody;
use crate::clients::Client;
use crate::config::DECODING;
use crate::connections::Connection;
use crate::error::ApiError;
use crate::half_closed::Peer;
use crate::html;
use crate::permits::{Demand, LATE, deadline};
use crate::state::State;
use crate::upload::{self, Body, Upload};
use actix_web::http::header::ContentType;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use derm::Footprint;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::time::Instant;

/// Classifies a picture, and explains the result with a heatmap.
#[cfg_attr(test, utoipa::path(
    post,
    path = "/predict/",
    tag = "predictions",
    responses((status = 200, description = "Classes and heatmaps", body = Answer)),
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
        Ok(answer) => HttpResponse::Ok()
            .insert_header(("Server-Timing", answer.server_timing))
            .content_type(if page { ContentType::html() } else { ContentType::json() })
            .body(answer.body),
        Err(error) if page => error
            .empty_response()
            .content_type(ContentType::html())
            .body(html::error_page(language, &error.to_string())),
        Err(error) => error.error_response(),
    }
}

/// An answer as it is sent.
struct Written {
    server_timing: String,
    body: HeldBody,
}

async fn answer(
    request: &HttpRequest,
    payload: Payload,
    state: &Data<State>,
    language: &mut html::Language,
) -> Result<Written, ApiError> {
    let deadline = deadline(state.config.timeout());
    let failed = |error| ApiError::of(error, state.config.timeout());
    let client = state.client(request);
    let body = receive(request, payload, state, &client, deadline).await?;
    let peer = request.conn_data::<Rc<Peer>>();
    let _in_work = peer.map(Peer::in_work);
    let shared = state.clone();
    // Base64 and the header of a hostile picture take a while: the event loop does not wait for them.
    // The permit goes with the bytes.
    let opening = state.background.run(move || {
        let Upload { picture, parameters, permit } = body.decode()?;
        Ok((shared.classifier.open(picture), parameters, permit))
    });
    let (picture, parameters, upload) = opening.await??;
    *language = html::Language::of(request, parameters.lang.as_deref());
    let (page, language) = (html::wants_page(request.headers()), *language);
    let asked = parameters.request(state.config.enable_gradcam);
    let picture = picture.map_err(failed)?;
    let cost = state.classifier.cost(&picture, &asked).map_err(failed)?;
    let demand = || {
        if !state.permits.weights_kept() {
            return Demand::Unknown;
        }
        // What the arenas take is known once another request has loaded the model.
        let again = || state.classifier.cost(&picture, &asked).ok()?.total();
        let total = cost.total().or_else(again);
        total.map_or(Demand::Unknown, |bytes| Demand::Bytes(bytes as usize))
    };
    let asked_at = Instant::now();
    let mut permit = state.permits.inference(&client, demand, deadline).await?;
    let shared = state.clone();
    // The permit goes with the job: a client that leaves does not make room for another inference
    // while its own still runs.
    let job = state.inferences.run(move || {
        if Instant::now() > deadline {
            return Err(ApiError::Busy(LATE));
        }
        let queued = asked_at.elapsed();
        make_room(&shared);
        let picture = picture.until(deadline.into_std().min(Instant::now().into_std() + DECODING));
        let report = shared.classifier.classify(&picture, &asked, deadline.into_std());
        if let Some(footprint) = shared.classifier.footprint() {
            shared.permits.keep_for_weights(&mut permit, footprint.weights);
        }
        drop((picture, upload));
        let report = report.map_err(|error| ApiError::of(error, shared.config.timeout()))?;
        shared.metrics.prediction(&report, queued);
        let answer = Answer::new(report, language.code(), parameters.insists_on_gradcam());
        let bytes = if page {
            html::result_page(language, &answer).into_bytes()
        } else {
            serde_json::to_vec(&answer).map_err(|_| ApiError::Internal)?
        };
        let permit = permit.into_answer(bytes.len());
        let server_timing = answer.latency_ms.server_timing();
        Ok(Written { server_timing, body: HeldBody::new(bytes, permit) })
    });
    let written = job.await??;
    state.predictions.fetch_add(1, Relaxed);
    state.lifecycle.set_checked();
    Ok(written)
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

/// Drops the arenas that are kept for a next prediction where the inferences that run have reserved
/// their memory. One of them is about to be used.
fn make_room(state: &State) {
    let Some(Footprint { arena, .. }) = state.classifier.footprint() else { return };
    let reserved = state.permits.reserved();
    let free = reserved.available.saturating_sub(reserved.inferences);
    if state.classifier.idle_bytes().saturating_sub(arena) > free {
        state.classifier.release_arenas();
    }
}
