//! The mapping from errors to HTTP status, headers and body.

use crate::config::DECODING;
use crate::excerpt::quoted;
use crate::upload::content_encoding::READ;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use actix_web::{HttpResponse, ResponseError};
use derm::{ModelError, PictureError, Task};
use serde::Serialize;
use std::time::Duration;

/// Seconds after which a client that was told 503 may try again.
const RETRY_SECONDS: u64 = 5;

/// Every answer that is not a success. The text says what is wrong and how to correct it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{0}")]
    BadRequest(String),
    #[error("there is nothing at this address; GET / is the page, docs/api.md lists the rest")]
    NotFound,
    #[error("this address does not take {method}; it takes {allowed}")]
    MethodNotAllowed { method: String, allowed: &'static str },
    #[error("the picture did not arrive in time; send it faster or smaller")]
    UploadTooSlow,
    #[error("the upload is larger than {0} bytes; send a smaller picture")]
    UploadTooLarge(usize),
    #[error("{0}")]
    UnsupportedMediaType(String),
    #[error(
        "the body's Content-Encoding {0} is not read here; send it plain, or encoded as one of: {READ}"
    )]
    Encoding(String),
    #[error("{name}: {reason}")]
    Parameter { name: String, reason: String },
    #[error("send a valid key, as `Authorization: Bearer KEY` or `X-API-Key: KEY`")]
    Unauthorized,
    #[error("too many requests; try again in {seconds} s")]
    TooManyRequests { seconds: u64 },
    #[error("the request's headers are larger than {0} bytes")]
    HeadersTooLarge(usize),
    #[error(
        "this takes {needed} bytes of memory, and there are {budget} for it; send a smaller \
         picture, or one that is a baseline JPEG"
    )]
    OverBudget { needed: usize, budget: usize },
    #[error("{}", too_large(model, *needed, *available, *pinned))]
    ModelTooLarge { model: String, needed: usize, available: usize, pinned: usize },
    #[error("there is no model {0}; POST /v2/repository/index lists the models")]
    UnknownModel(String),
    #[error("{0}; try again in a few seconds")]
    Busy(&'static str),
    #[error("the server is shutting down; try again in a few seconds")]
    ShuttingDown,
    #[error("{task} did not finish within the time limit of {seconds} s; {}", remedy(*task))]
    TimeLimit { task: Task, seconds: u64 },
    #[error("the model cannot be used: {0}")]
    Model(String),
    #[error("an internal error happened; it has been logged under this request's id")]
    Internal,
    #[error("{0}")]
    Picture(PictureError),
}

/// The body of every error.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Error))]
pub(crate) struct ErrorBody {
    /// What is wrong and how to correct it.
    pub(crate) error: String,
}

/// Why a request is refused; every response to an [`ApiError`] has it in its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) &'static str);

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            ApiError::BadRequest(_) => StatusCode::BAD_REQUEST,
            ApiError::NotFound | ApiError::UnknownModel(_) => StatusCode::NOT_FOUND,
            ApiError::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            ApiError::UploadTooSlow => StatusCode::REQUEST_TIMEOUT,
            ApiError::Unauthorized => StatusCode::UNAUTHORIZED,
            ApiError::TooManyRequests { .. } => StatusCode::TOO_MANY_REQUESTS,
            ApiError::UploadTooLarge(_) | ApiError::OverBudget { .. } => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            ApiError::UnsupportedMediaType(_) | ApiError::Encoding(_) => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            ApiError::Parameter { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            ApiError::HeadersTooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            ApiError::Busy(_)
            | ApiError::ShuttingDown
            | ApiError::TimeLimit { .. }
            | ApiError::ModelTooLarge { .. } => StatusCode::SERVICE_UNAVAILABLE,
            ApiError::Model(_) | ApiError::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            ApiError::Picture(error) => match error {
                PictureError::UnknownFormat | PictureError::Unsupported { .. } => {
                    StatusCode::UNSUPPORTED_MEDIA_TYPE
                }
                PictureError::TooManyBytes { .. }
                | PictureError::TooManyPixels { .. }
                | PictureError::TooMuchMemory { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                _ => StatusCode::BAD_REQUEST,
            },
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = self.empty_response();
        response.insert_header((CONTENT_TYPE, "application/json"));
        response.json(ErrorBody { error: self.to_string() })
    }
}

impl ApiError {
    /// Whether it is the fault of one picture, so that others of the same request may do.
    pub(crate) fn is_of_picture(&self) -> bool {
        matches!(
            self,
            ApiError::Picture(_)
                | ApiError::BadRequest(_)
                | ApiError::UploadTooLarge(_)
                | ApiError::OverBudget { .. }
                | ApiError::TimeLimit { task: Task::Decoding, .. }
        )
    }

    /// Every [`ApiError::reason`].
    pub(crate) const REASONS: [&str; 17] = [
        "bad_request",
        "busy",
        "headers_too_large",
        "internal",
        "method_not_allowed",
        "model",
        "not_found",
        "over_budget",
        "parameter",
        "picture",
        "rate_limit",
        "shutting_down",
        "time_limit",
        "unauthorized",
        "unsupported_media_type",
        "upload_too_large",
        "upload_too_slow",
    ];

    /// Why a request is refused, as the metrics count it.
    pub(crate) fn reason(&self) -> Refusal {
        Refusal(match self {
            ApiError::BadRequest(_) => "bad_request",
            ApiError::NotFound | ApiError::UnknownModel(_) => "not_found",
            ApiError::MethodNotAllowed { .. } => "method_not_allowed",
            ApiError::UploadTooSlow => "upload_too_slow",
            ApiError::UploadTooLarge(_) => "upload_too_large",
            ApiError::UnsupportedMediaType(_) | ApiError::Encoding(_) => "unsupported_media_type",
            ApiError::Parameter { .. } => "parameter",
            ApiError::Unauthorized => "unauthorized",
            ApiError::TooManyRequests { .. } => "rate_limit",
            ApiError::HeadersTooLarge(_) => "headers_too_large",
            ApiError::OverBudget { .. } | ApiError::ModelTooLarge { .. } => "over_budget",
            ApiError::Busy(_) => "busy",
            ApiError::ShuttingDown => "shutting_down",
            ApiError::TimeLimit { .. } => "time_limit",
            ApiError::Model(_) => "model",
            ApiError::Internal => "internal",
            ApiError::Picture(_) => "picture",
        })
    }

    /// Status and headers, without a body.
    pub(crate) fn empty_response(&self) -> actix_web::HttpResponseBuilder {
        let mut response = HttpResponse::build(self.status_code());
        response.extensions_mut().insert(self.reason());
        match self {
            // Not on TimeLimit: the same request would cost as much again, and fail again.
            ApiError::Busy(_) | ApiError::ShuttingDown => {
                response.insert_header((RETRY_AFTER, RETRY_SECONDS));
            }
            ApiError::TooManyRequests { seconds } => {
                response.insert_header((RETRY_AFTER, *seconds));
            }
            ApiError::Unauthorized => {
                response.insert_header((WWW_AUTHENTICATE, "Bearer"));
            }
            // RFC 7694.
            ApiError::Encoding(_) => {
                response.insert_header((ACCEPT_ENCODING, READ));
            }
            ApiError::MethodNotAllowed { allowed, .. } => {
                response.insert_header((ALLOW, *allowed));
            }
            _ => {}
        }
        // The rest of the body is not read.
        if matches!(
            self,
            ApiError::UploadTooSlow
                | ApiError::UploadTooLarge(_)
                | ApiError::HeadersTooLarge(_)
                | ApiError::ShuttingDown
        ) {
            response.force_close();
        }
        response
    }
}

/// What a model lacks, in figures.
fn too_large(model: &str, needed: usize, available: usize, pinned: usize) -> String {
    let mib = |bytes: usize| bytes as f64 / derm::memory::MIB;
    let pinned = match pinned {
        0 => String::new(),
        bytes => format!(" beside {:.1} MiB of pinned models", mib(bytes)),
    };
    format!(
        "the model {} does not fit: it takes {:.1} MiB, and the budget has {:.1} MiB for it{pinned}; \
         have MEMORY_BUDGET_MB or the memory limit raised",
        quoted(model),
        mib(needed),
        mib(available),
    )
}

/// What a client can change so that the work ends in time.
fn remedy(task: Task) -> &'static str {
    match task {
        Task::Decoding => "send a smaller picture, or a baseline JPEG",
        Task::Prediction => "ask for a smaller `tta`, or have TIMEOUT raised",
        _ => {
            "ask for another `method`, fewer classes or a smaller `smooth`, or have TIMEOUT raised"
        }
    }
}

impl ApiError {
    /// The answer to a classifier's error; `limit` is the time limit of a request.
    pub(crate) fn of(error: derm::Error, limit: Duration) -> ApiError {
        match error {
            derm::Error::Picture(PictureError::DecoderPanicked { format, message }) => {
                tracing::error!(format, panic = message, "a decoder panicked");
                ApiError::BadRequest(format!("the {format} picture cannot be decoded"))
            }
            derm::Error::Picture(error) => ApiError::Picture(error),
            derm::Error::Parameter { name, reason } => {
                ApiError::Parameter { name: name.to_owned(), reason }
            }
            derm::Error::TimedOut => ApiError::Busy("the model was not ready in time"),
            derm::Error::Cancelled => ApiError::ShuttingDown,
            derm::Error::TimeLimit(task) => {
                let limit = if task == Task::Decoding { limit.min(DECODING) } else { limit };
                ApiError::TimeLimit { task, seconds: limit.as_secs() }
            }
            derm::Error::Model(error) if !matches!(*error, ModelError::Panicked { .. }) => {
                tracing::error!(%error, "model");
                ApiError::Model(error.to_string())
            }
            error => {
                tracing::error!(%error, "internal");
                ApiError::Internal
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn of(error: derm::Error) -> ApiError {
        ApiError::of(error, Duration::from_secs(300))
    }

    #[test]
    fn work_beyond_the_time_limit_is_not_to_be_repeated() {
        for (task, parameter) in [(Task::Explanation, "`method`"), (Task::Prediction, "`tta`")] {
            let error = of(derm::Error::TimeLimit(task));
            let response = error.error_response();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(!response.headers().contains_key(RETRY_AFTER));
            let text = error.to_string();
            for part in ["300 s", "TIMEOUT", parameter] {
                assert!(text.contains(part), "{text}");
            }
            assert!(!text.contains("try again"), "{text}");
        }
    }

    #[test]
    fn the_limit_on_decoding_is_its_own() {
        let text = of(derm::Error::TimeLimit(Task::Decoding)).to_string();
        assert!(text.contains("20 s") && text.contains("baseline JPEG"), "{text}");
        assert!(!text.contains("TIMEOUT"), "{text}");
        let short = ApiError::of(derm::Error::TimeLimit(Task::Decoding), Duration::from_secs(3));
        assert!(short.to_string().contains("limit of 3 s"), "{short}");
    }

    #[test]
    fn waiting_too_long_is_to_be_repeated_later() {
        let error = of(derm::Error::TimedOut);
        let response = error.error_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key(RETRY_AFTER));
        assert!(error.to_string().contains("try again"));
    }

    #[test]
    fn a_panic_is_internal_and_its_message_does_not_reach_the_client() {
        let message = "index out of bounds".to_owned();
        let error = of(ModelError::Panicked { stage: "running", message }.into());
        assert_eq!(error.status_code(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!error.to_string().contains("bounds"), "{error}");
        let message = "index out of bounds".to_owned();
        let error = of(PictureError::DecoderPanicked { format: "GIF", message }.into());
        assert_eq!(error.status_code(), StatusCode::BAD_REQUEST);
        assert_eq!(error.to_string(), "the GIF picture cannot be decoded");
        let shown = of(derm::Error::Model(Arc::new(ModelError::Mismatch("two inputs".to_owned()))));
        assert!(shown.to_string().contains("two inputs"));
    }
}
