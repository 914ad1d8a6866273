//! Every kernel against a plain loop, for every instruction set of this machine: one file a kernel, the
//! plain loops in `reference`.

#![allow(clippy::unwrap_used, missing_docs)]

mod binary;
mod conv;
mod conv_gradient;
mod depthwise;
mod fake_quantize;
mod geometry;
mod int8;
mod int8_weights;
mod pool;
mod reduce;
mod reference;
mod transpose;
mod unary;
mod winograd;
