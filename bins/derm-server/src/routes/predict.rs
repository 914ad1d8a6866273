//! A picture in, classes and a heatmap out.

use crate::answer::Answer;
use crate::error::ApiError;
use crate::html;
use crate::permits::{LATE, Need, deadline};
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
    let result = answer(&request, payload, &state, &mut language).await;
    match result {
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
    let Upload { picture, parameters, permit: upload } =
        upload::receive(request, payload, state).await?;
    *language = html::Language::of(request, parameters.lang.as_deref());
    let wanted = parameters.request(state.config.enable_gradcam);
    let picture_bytes = state.classifier.memory_needed(&picture, &wanted)? as usize;
    let need = || {
        let explanation = state.classifier.explanation_memory(&wanted);
        match (state.classifier.footprint(), explanation) {
            (Some(Footprint { arena, .. }), Some(explanation)) => {
                Need::Bytes(picture_bytes + arena + explanation)
            }
            _ => Need::Unknown,
        }
    };
    let mut permit = state.permits.inference(need, deadline).await?;
    make_room(state);
    let shared = state.clone();
    // The permit goes with the work: a client that leaves does not make room for another
    // inference while its own still runs.
    let work = state.runners.run(move || {
        if Instant::now() > deadline {
            return Err(ApiError::Busy(LATE));
        }
        let report = shared.classifier.classify(&picture, &wanted, deadline.into_std());
        if let Some(footprint) = shared.classifier.footprint() {
            shared.permits.keep_for_weights(&mut permit, footprint.weights);
        }
        drop((picture, upload, permit));
        Ok(report?)
    });
    let report = work.await.ok_or_else(|| {
        tracing::error!("inference panicked");
        ApiError::Internal
    })??;
    state.predictions.fetch_add(1, Relaxed);
    let manifest = state.classifier.manifest();
    let insisted = parameters.insists_on_gradcam();
    Ok(Answer::new(report, manifest, language.code(), insisted))
}

/// Arenas that are kept for a next prediction are nobody's: they go when those who run have
/// reserved their room. One of them is about to be used.
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
