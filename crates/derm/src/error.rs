use derm_model::AcquireError;
use std::sync::Arc;

/// Why a picture was not classified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are no picture that can be used.
    #[error(transparent)]
    Picture(#[from] derm_preprocess::Error),
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
    /// The model predicts, and cannot be explained.
    #[error("the model cannot be explained: {0}")]
    Unexplained(String),
    /// Loading panicked: a fault of ours.
    #[error("loading the model failed unexpectedly")]
    Panicked,
    /// The deadline passed before the work began.
    #[error("the time limit passed before the picture's turn came")]
    TimedOut,
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
