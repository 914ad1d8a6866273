#![doc = include_str!("../README.md")]

mod conv;
mod elementwise;
mod geometry;
mod norm;
mod peak;
mod pool;
mod reduce;
mod ring;
mod rows;
mod simd;
mod softmax;
mod transpose;

pub use conv::call::{ConvCall, RowsCall};
pub use conv::epilogue::Epilogue;
pub use conv::output::{OutputPart, SharedOutput};
pub use conv::plan::ConvPlan;
pub use conv::storage::Precision;
pub use conv::weights::PackedConv;
pub use elementwise::binary::{BinaryOp, BroadcastAxis, binary, broadcast};
pub use elementwise::unary::Unary;
pub use geometry::conv::ConvGeometry;
pub use geometry::error::GeometryError;
pub use geometry::pool::PoolGeometry;
pub use geometry::window::{Window, WindowAxis};
pub use norm::rms_norm;
pub use peak::register_flops;
pub use pool::{Pooling, pool, pool_gradient};
pub use reduce::{Reduction, reduce};
pub use ring::Ring;
pub use simd::isa::Isa;
pub use softmax::softmax;
pub use transpose::transpose;
