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
        /// What is wrong.
        reason: String,
    },
    /// External data lies outside the model's folder, or is shorter than it says.
    #[error("tensor {tensor}: bad external data: {reason}")]
    ExternalData {
        /// Name of the tensor.
        tensor: String,
        /// What is wrong.
        reason: String,
    },
    /// A tensor's data does not fit its shape.
    #[error("tensor {0}: its data does not fit its shape")]
    WrongLength(String),
    /// The file's weights are float16 already.
    #[error("the weights are float16 already")]
    AlreadyHalf,
    /// The file holds no float32 weights that could be narrowed.
    #[error("there are no float32 weights to narrow")]
    NothingToNarrow,
    /// The graph has all its weights already.
    #[error("no tensor of the graph is without data")]
    NothingToFill,
}
