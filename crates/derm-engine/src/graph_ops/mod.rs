//! Graph operators that tract does not have, each with its plain evaluation, which tract can run,
//! beside the operation that the engine lowers it to.
//!
//! All but [`Function`] are what gradients are made of: linear in their first operand, the gradient of
//! some value with respect to an operator's output; the result is the gradient with respect to that
//! operator's input.

mod conv;
mod derivative;
mod function;
mod gather;
mod pool;
mod relation;
mod window;

pub use conv::ConvInputGradient;
pub use derivative::Derivative;
pub use function::Function;
pub use gather::GatherInputGradient;
pub use pool::{Pool, PoolInputGradient};
pub use relation::{Relation, Where};
