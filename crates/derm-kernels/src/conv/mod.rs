//! Convolution and matrix product: one kernel, since a product is a convolution of one tap.
//!
//! Values are channels-last. [`PackedConv`] is what a convolution keeps: weights packed for one
//! instruction set, and a bias. A [`plan::ConvPlan`] chooses once how one geometry is computed with
//! them (directly, by Winograd's method, or depthwise) and runs.

pub(crate) mod call;
mod depthwise;
mod direct;
pub(crate) mod epilogue;
mod microkernel;
pub(crate) mod output;
mod packed;
pub(crate) mod plan;
pub(crate) mod storage;
pub(crate) mod weights;
mod widen;
mod winograd;
