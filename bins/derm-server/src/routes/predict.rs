//! A picture in, classes and a heatmap out.

use crate::error::ApiError;
use crate::html;
use crate::parameters::Parameters;
use crate::permits::deadline;
use crate::state::State;
use crate::upload::{self, Upload};
use actix_web::http::header::{ACCEPT, ContentType};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use derm::{Region, Report, Timings};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// What a reader of a result must know.
pub(crate) const DISCLAIMER: &str =
    "A screening aid for education and research, never a diagnosis. See a physician.";

/// The answer. `results` and `heatmap` are the original application's.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    pub(crate) results: Vec<Class>,
    /// Base64 PNG.
    pub(crate) heatmap: Option<String>,
    /// Why there is no heatmap though one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) heatmap_error: Option<String>,
    /// The class that the heatmap explains.
    explained_class: Option<String>,
    picture: Size,
    /// The part of the upright picture that the network saw, as shares of its sides.
    region: Region,
    model: Model,
    disclaimer: &'static str,
    /// Milliseconds by step.
    pub(crate) latency_ms: Latency,
}

#[derive(Debug, Serialize)]
pub(crate) struct Class {
    pub(crate) class: String,
    pub(crate) label: String,
    /// In percent.
    pub(crate) probability: f64,
}

#[derive(Debug, Serialize)]
struct Size {
    width: u32,
    height: u32,
}

#[derive(Debug, Serialize)]
struct Model {
    name: String,
    version: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    decode: f64,
    resize: f64,
    load: f64,
    infer: f64,
    gradcam: f64,
    render: f64,
    pub(crate) total: f64,
}

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
    let permit = state.permits.inference(deadline).await?;
    let classifier = Arc::clone(&state.classifier);
    // The permit goes with the work: a client that leaves does not make room for another
    // inference while its own still runs.
    let work = actix_web::rt::task::spawn_blocking(move || {
        let report = classifier.classify(&picture, &wanted, deadline.into_std());
        drop((picture, upload, permit));
        report
    });
    let report = work.await.map_err(|error| {
        tracing::error!(%error, "inference panicked");
        ApiError::Internal
    })??;
    state.predictions.fetch_add(1, Relaxed);
    Ok(compose(report, state, &parameters, *language))
}

fn compose(
    report: Report,
    state: &State,
    parameters: &Parameters,
    language: html::Language,
) -> Answer {
    let manifest = state.classifier.manifest();
    let results = report
        .predictions
        .iter()
        .map(|prediction| Class {
            class: prediction.class.clone(),
            label: manifest.classes[prediction.index].label_in(language.code()).to_owned(),
            probability: (f64::from(prediction.probability) * 1e6).round() / 1e4,
        })
        .collect();
    let (explanation, heatmap_error) = match report.explanation {
        Some(Ok(explanation)) => (Some(explanation), None),
        Some(Err(reason)) => (None, Some(reason)),
        None if parameters.insists_on_gradcam() => {
            (None, Some("Grad-CAM is switched off on this server (ENABLE_GRADCAM)".to_owned()))
        }
        None => (None, None),
    };
    Answer {
        results,
        heatmap: explanation.as_ref().map(|explanation| STANDARD.encode(&explanation.png)),
        heatmap_error,
        explained_class: explanation.map(|explanation| explanation.class),
        picture: Size { width: report.size.0, height: report.size.1 },
        region: report.region,
        model: Model { name: manifest.name.clone(), version: manifest.version.clone() },
        disclaimer: DISCLAIMER,
        latency_ms: Latency::of(report.timings),
    }
}

impl Latency {
    fn of(timings: Timings) -> Latency {
        let ms = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
        let Timings { decode, resize, load, infer, gradcam, render } = timings;
        Latency {
            decode: ms(decode),
            resize: ms(resize),
            load: ms(load),
            infer: ms(infer),
            gradcam: ms(gradcam),
            render: ms(render),
            total: ms(decode + resize + load + infer + gradcam + render),
        }
    }

    /// <https://www.w3.org/TR/server-timing/>
    fn server_timing(&self) -> String {
        let Latency { decode, resize, load, infer, gradcam, render, .. } = self;
        format!(
            "decode;dur={decode}, resize;dur={resize}, load;dur={load}, infer;dur={infer}, \
             gradcam;dur={gradcam}, render;dur={render}"
        )
    }
}

/// A browser that posts the form asks for HTML; a program asks for JSON or says nothing.
fn wants_page(request: &HttpRequest) -> bool {
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    let accept = accept.unwrap_or("");
    accept.contains("text/html") && !accept.contains("application/json")
}
