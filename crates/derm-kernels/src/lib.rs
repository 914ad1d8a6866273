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
mod simd;
mod transpose;
mod weights;
mod widen;

pub use activation::{Activation, activate};
pub use after::After;
pub use binary::{BinaryOp, BroadcastAxis, binary, broadcast};
pub use conv::{Axis, ConvShape, PackedConv};
pub use depthwise::Depthwise;
pub use derivative::differentiate;
pub use isa::Isa;
pub use peak::register_flops;
pub use pool::{PoolShape, Pooling, pool, pool_gradient};
pub use reduce::{Reduction, reduce, rms_norm, softmax};
pub use transpose::transpose;
pub use weights::{Precision, Weights};
