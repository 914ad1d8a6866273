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
    /// The model has no such class.
    #[error("the model has no class number {0}")]
    NoSuchClass(usize),
    /// Evaluating or differentiating an operator failed.
    #[error("the explanation failed: {0}")]
    Failed(String),
}

impl From<TractError> for Error {
    fn from(error: TractError) -> Error {
        Error::Failed(format!("{error:#}"))
    }
}
