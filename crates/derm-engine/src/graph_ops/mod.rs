//! Graph operators that tract does not have, each with its plain evaluation, which tract can run,
//! beside the operation that the engine lowers it to.
//!
//! All but [`Function`], [`Quantize`], [`Dequantize`] and [`FakeQuantize`] are what gradients are made of: linear in their first operand, the gradient of
//! some value with respect to an operator's output; the result is the gradient with respect to one of
//! that operator's operands.

mod conv;
mod derivative;
mod function;
mod gather;
mod grid_sample;
mod pool;
mod quantize;
mod relation;
mod selection;
mod window;

pub use conv::ConvInputGradient;
pub use derivative::Derivative;
pub use function::Function;
pub use gather::GatherInputGradient;
pub use grid_sample::GridSampleGradient;
pub use pool::{Pool, PoolInputGradient};
pub use quantize::{Dequantize, FakeQuantize, Quantize};
pub use relation::{Relation, Where};
pub use selection::SelectionInputGradient;
