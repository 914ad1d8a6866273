//! Adaptation: between the input and output that every classifier has here (one float32 picture,
//! one row of scores) and those that the graph declares. Nodes of the graph itself do it, so that
//! every part of the engine, gradients too, sees the first form only.

mod input;
mod output;

pub use input::{ElementType, GraphInput};
pub(crate) use input::{InputForm, wire_input};
pub(crate) use output::wire_scores;
