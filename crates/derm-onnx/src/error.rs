use std::path::PathBuf;

/// Why an ONNX file could not be read, changed or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading or writing failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The bytes are not an ONNX model.
    #[error("{path} is not an ONNX model: {reason}")]
    NotOnnx {
        /// The file.
        path: PathBuf,
        /// The cause.
        reason: String,
    },
    /// External data lies outside the model's folder, or its file is shorter than declared.
    #[error("tensor {tensor}: invalid external data: {reason}")]
    ExternalData {
        /// Name of the tensor.
        tensor: String,
        /// The cause.
        reason: String,
    },
    /// A tensor's data and shape have different lengths.
    #[error("tensor {0}: the length of its data does not match its shape")]
    WrongLength(String),
    /// The weights are already float16.
    #[error("the weights are already float16")]
    AlreadyHalf,
    /// There are no float32 weights that can be narrowed.
    #[error("there are no float32 weights to narrow")]
    NothingToNarrow,
    /// The graph has all its weights.
    #[error("no tensor of the graph is without data")]
    NothingToFill,
}
