//! Errors of classifying a picture.

use crate::lazy::AcquireError;
use std::fmt;
use std::sync::Arc;

/// Why a picture was not classified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not a picture that can be used.
    #[error(transparent)]
    Picture(derm_preprocess::Error),
    /// A parameter names something that the model does not have.
    #[error("{name}: {reason}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The model cannot be loaded or run.
    #[error(transparent)]
    Model(Arc<derm_model::Error>),
    /// The model predicts, but cannot be explained.
    #[error("the model cannot be explained: {0}")]
    Unexplained(#[source] derm_gradcam::Error),
    /// Loading the model, on behalf of another request, panicked: a bug.
    #[error("loading the model failed unexpectedly")]
    Panicked,
    /// The deadline passed before the work began: while waiting for the model, for one.
    #[error("the time limit passed before the picture's turn came")]
    TimedOut,
    /// [`Classifier::cancel`](crate::Classifier::cancel) was called.
    #[error("the work was cancelled")]
    Cancelled,
    /// The deadline passed while working: the same request will most likely fail again.
    #[error("{0} did not finish within the time limit")]
    TimeLimit(Task),
}

/// Work that a deadline can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Task {
    /// Decoding the picture.
    Decoding,
    /// Predicting from several augmentations of a picture.
    Prediction,
    /// Computing heatmaps.
    Explanation,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Task::Decoding => "decoding the picture",
            Task::Prediction => "the prediction",
            Task::Explanation => "the explanation",
        })
    }
}

impl From<derm_preprocess::Error> for Error {
    fn from(error: derm_preprocess::Error) -> Error {
        match error {
            derm_preprocess::Error::TimedOut => Error::TimeLimit(Task::Decoding),
            error => Error::Picture(error),
        }
    }
}

impl From<derm_model::Error> for Error {
    fn from(error: derm_model::Error) -> Error {
        Error::Model(Arc::new(error))
    }
}

impl From<AcquireError<derm_model::Error>> for Error {
    fn from(error: AcquireError<derm_model::Error>) -> Error {
        match error {
            AcquireError::Failed(error) => Error::Model(error),
            AcquireError::Panicked => Error::Panicked,
            AcquireError::TimedOut => Error::TimedOut,
        }
    }
}
