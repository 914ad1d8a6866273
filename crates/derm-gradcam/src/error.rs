use tract_onnx::prelude::TractError;

/// Why there is no heatmap.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No value of the graph has two spatial axes of more than one place.
    #[error("the model has no spatial feature map to explain")]
    NoSpatialLayer,
    /// The class does not depend on the layer, or the layer has no spatial axes.
    #[error("layer {0:?} cannot be explained: {1}")]
    UnsuitableLayer(String, &'static str),
    /// An operator between the layer and the class cannot be differentiated.
    #[error("no differentiation rule for operator {operator} (node {node:?})")]
    NoRule {
        /// Kind of the operator.
        operator: String,
        /// Name of its node.
        node: String,
    },
    /// The graph has no such layer.
    #[error("the graph has no node or value {0:?}")]
    NoSuchLayer(String),
    /// The model has no such class.
    #[error("the model has no class number {0}")]
    NoSuchClass(usize),
    /// Who watched the work ended it.
    #[error("the explanation was stopped before it was done")]
    Stopped,
    /// Evaluating or differentiating an operator failed.
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
