//! What can go wrong while an engine runs.

use std::fmt;

/// A step failed: tract could not evaluate an operator that the engine leaves to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunError {
    /// The node of the graph.
    pub node: String,
    /// What tract says.
    pub cause: String,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.node, self.cause)
    }
}

impl std::error::Error for RunError {}
