//! Operators that gradients are made of and that tract has none for: each with its plain
//! evaluation, which tract can run, beside the step that the engine lowers it to.
//!
//! All are linear in their first operand, the gradient of some value with respect to an operator's
//! output; the result is the gradient with respect to that operator's input.

mod conv;
mod derivative;
mod gather;
mod pool;
mod relation;
mod window;

pub use conv::ConvInputGradient;
pub use derivative::Derivative;
pub use gather::GatherInputGradient;
pub use pool::{Pool, PoolInputGradient};
pub use relation::{Relation, Where};
