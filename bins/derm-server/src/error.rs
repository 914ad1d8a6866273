//! The one mapping from what can go wrong to status and body.

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use derm::PictureError;

/// Seconds after which a client that was told 503 may try again.
const RETRY_SECONDS: u64 = 5;

/// Every answer that is not a success. The text says what is wrong and how to mend it.
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
    #[error("{name}: {reason}")]
    Parameter { name: String, reason: String },
    #[error("the request's headers are larger than {0} bytes")]
    HeadersTooLarge(usize),
    #[error(
        "this takes {needed} bytes of memory, and there are {budget} for it; send a smaller \
         picture, or one that is a baseline JPEG"
    )]
    OverBudget { needed: usize, budget: usize },
    #[error("{0}; try again in a few seconds")]
    Busy(&'static str),
    #[error("the model cannot be used: {0}")]
    Model(String),
    #[error("an internal error happened; it has been logged under this request's id")]
    Internal,
    #[error("{0}")]
    Picture(PictureError),
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            ApiError::BadRequest(_) => StatusCode::BAD_REQUEST,
            ApiError::NotFound => StatusCode::NOT_FOUND,
            ApiError::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            ApiError::UploadTooSlow => StatusCode::REQUEST_TIMEOUT,
            ApiError::UploadTooLarge(_) | ApiError::OverBudget { .. } => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            ApiError::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ApiError::Parameter { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            ApiError::HeadersTooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            ApiError::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            ApiError::Model(_) | ApiError::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            ApiError::Picture(error) => match error {
                PictureError::UnknownFormat => StatusCode::UNSUPPORTED_MEDIA_TYPE,
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
        response.json(serde_json::json!({ "error": self.to_string() }))
    }
}

impl ApiError {
    /// Status and headers, without a body.
    pub(crate) fn empty_response(&self) -> actix_web::HttpResponseBuilder {
        let mut response = HttpResponse::build(self.status_code());
        match self {
            ApiError::Busy(_) => {
                response.insert_header((RETRY_AFTER, RETRY_SECONDS));
            }
            ApiError::MethodNotAllowed { allowed, .. } => {
                response.insert_header((ALLOW, *allowed));
            }
            _ => {}
        }
        // What the client still sends is not read.
        if matches!(
            self,
            ApiError::UploadTooSlow | ApiError::UploadTooLarge(_) | ApiError::HeadersTooLarge(_)
        ) {
            response.force_close();
        }
        response
    }
}

impl From<derm::Error> for ApiError {
    fn from(error: derm::Error) -> ApiError {
        match error {
            derm::Error::Picture(error) => ApiError::Picture(error),
            derm::Error::Parameter { name, reason } => {
                ApiError::Parameter { name: name.to_owned(), reason }
            }
            derm::Error::TimedOut => ApiError::Busy("the model was not ready in time"),
            derm::Error::Model(error) => {
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
