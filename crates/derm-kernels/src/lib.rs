#![doc = include_str!("../README.md")]

mod activation;
mod after;
mod binary;
mod conv;
mod depthwise;
mod derivative;
mod isa;
mod peak;
mod pool;
mod reduce;
mod rows;
mod shape;
mod simd;
mod tile;
mod transpose;
mod unrolled;
mod weights;
mod widen;
mod winograd;

pub use activation::{Activation, activate};
pub use after::After;
pub use binary::{BinaryOp, BroadcastAxis, binary, broadcast};
pub use conv::PackedConv;
pub use depthwise::Depthwise;
pub use derivative::differentiate;
pub use isa::Isa;
pub use peak::register_flops;
pub use pool::{PoolShape, Pooling, pool, pool_gradient};
pub use reduce::{Reduction, reduce, rms_norm, softmax};
pub use shape::{Axis, ConvShape, Ring};
pub use transpose::transpose;
pub use weights::{Precision, Weights};
