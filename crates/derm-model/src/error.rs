//! Errors of loading and running a model.

use std::path::PathBuf;

/// Why a model could not be loaded or run. Each message is one line that says what to correct.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file is missing or unreadable.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file is not the one that was opened: it was overwritten in place.
    #[error("{path} was changed after it had been opened; have the model reloaded")]
    Changed {
        /// The graph's file.
        path: PathBuf,
    },
    /// The manifest is not valid.
    #[error("{path}: {reason}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
    /// The file is not an ONNX graph, or has an operator that is not supported. The innermost cause
    /// stands first.
    #[error("the model cannot be read: {0}")]
    Graph(String),
    /// The graph's input or output disagrees with the manifest.
    #[error("the model disagrees with its manifest: {0}")]
    Mismatch(String),
    /// The graph has no layer of this name.
    #[error("the model has no layer named {0:?}")]
    NoSuchLayer(String),
    /// Running the graph failed.
    #[error("the model cannot be run: {0}")]
    Run(String),
    /// tract panicked: the file is malformed in a way that it does not check, or this is a bug.
    #[error("{stage} the model panicked ({message}); the file is malformed, or this is a bug")]
    Panicked {
        /// What was being done: `reading`, `packing` or `running`.
        stage: &'static str,
        /// The first line of the panic's message.
        message: String,
    },
}
