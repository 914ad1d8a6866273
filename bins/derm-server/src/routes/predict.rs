//! Prediction: a picture in, classes and heatmaps out.

use crate::answer::Answer;
use crate::config::DECODING;
use crate::error::ApiError;
use crate::html;
use crate::permits::{Demand, LATE, deadline};
use crate::state::State;
use crate::upload::{self, Upload};
use actix_web::http::header::{ACCEPT, ContentType};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use derm::Footprint;
use std::sync::atomic::Ordering::Relaxed;
use tokio::time::Instant;

/// `POST /predict`, `/upload`, `/upload/file`.
pub(crate) async fn predict(
    request: HttpRequest,
    payload: Payload,
    state: Data<State>,
) -> HttpResponse {
    let page = wants_page(&request);
    let mut language = html::Language::of(&request, None);
    match answer(&request, payload, &state, &mut language).await {
        Ok(answer) if page => HttpResponse::Ok()
            .insert_header(("Server-Timing", answer.latency_ms.server_timing()))
            .content_type(ContentType::html())
            .body(html::result_page(language, &answer)),
        Ok(answer) => HttpResponse::Ok()
            .insert_header(("Server-Timing", answer.latency_ms.server_timing()))
            .json(answer),
        Err(error) if page => error
            .empty_response()
            .content_type(ContentType::html())
            .body(html::error_page(language, &error.to_string())),
        Err(error) => error.error_response(),
    }
}

async fn answer(
    request: &HttpRequest,
    payload: Payload,
    state: &Data<State>,
    language: &mut html::Language,
) -> Result<Answer, ApiError> {
    let deadline = deadline(state.config.timeout());
    let failed = |error| ApiError::of(error, state.config.timeout());
    let body = upload::receive(request, payload, &state.config, &state.permits, deadline).await?;
    let shared = state.clone();
    // Base64 and the header of a hostile picture take a while: the event loop does not wait for them.
    // The permit goes with the bytes.
    let opening = state.background.run(move || {
        let Upload { picture, parameters, permit } = body.decode()?;
        Ok((shared.classifier.open(picture), parameters, permit))
    });
    let (picture, parameters, upload) = opening.await??;
    *language = html::Language::of(request, parameters.lang.as_deref());
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
    let mut permit = state.permits.inference(demand, deadline).await?;
    let shared = state.clone();
    // The permit goes with the job: a client that leaves does not make room for another inference
    // while its own still runs.
    let job = state.inferences.run(move || {
        if Instant::now() > deadline {
            return Err(ApiError::Busy(LATE));
        }
        make_room(&shared);
        let picture = picture.until(deadline.into_std().min(Instant::now().into_std() + DECODING));
        let report = shared.classifier.classify(&picture, &asked, deadline.into_std());
        if let Some(footprint) = shared.classifier.footprint() {
            shared.permits.keep_for_weights(&mut permit, footprint.weights);
        }
        drop((picture, upload, permit));
        report.map_err(|error| ApiError::of(error, shared.config.timeout()))
    });
    let report = job.await??;
    state.predictions.fetch_add(1, Relaxed);
    let manifest = state.classifier.manifest();
    let insisted = parameters.insists_on_gradcam();
    Ok(Answer::new(report, manifest, language.code(), insisted))
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

/// A browser that posts the form asks for HTML; a program asks for JSON or says nothing.
fn wants_page(request: &HttpRequest) -> bool {
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    let accept = accept.unwrap_or("");
    accept.contains("text/html") && !accept.contains("application/json")
}
