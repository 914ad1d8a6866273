use tract_onnx::prelude::TractError;

/// Why there is no heatmap.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No value of the graph has rows and columns with more than one position.
    #[error("the model has no spatial feature map to explain")]
    NoSpatialLayer,
    /// The classes do not depend on the layer, or the layer has no spatial axes.
    #[error("layer {0:?} cannot be explained: {1}")]
    UnsuitableLayer(String, &'static str),
    /// An operator between the layer and the class cannot be differentiated.
    #[error("no differentiation rule for operator {operator} (node {node:?})")]
    NoRule {
        /// The operator's type.
        operator: String,
        /// The name of its node.
        node: String,
    },
    /// The graph has no layer of this name.
    #[error("the graph has no node or value {0:?}")]
    NoSuchLayer(String),
    /// The model has no class with this index.
    #[error("the model has no class number {0}")]
    NoSuchClass(usize),
    /// The progress callback returned `false`.
    #[error("the explanation was stopped before it was complete")]
    Stopped,
    /// Evaluating or differentiating the graph failed.
    #[error("the explanation failed: {0}")]
    Failed(String),
}

impl From<TractError> for Error {
    fn from(error: TractError) -> Error {
        Error::Failed(format!("{error:#}"))
    }
}

impl From<derm_model::Error> for Error {
    fn from(error: derm_model::Error) -> Error {
        Error::Failed(error.to_string())
    }
}
