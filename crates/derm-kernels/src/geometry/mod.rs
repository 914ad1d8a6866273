//! Geometry: the sizes of what convolutions and poolings read and write.
//!
//! Every type here is made by a constructor that checks it, so that no length, index or operation
//! count that kernels derive from it can wrap. Kernels index by it without checking again.

pub(crate) mod conv;
pub(crate) mod error;
pub(crate) mod packing;
pub(crate) mod pool;
pub(crate) mod window;
