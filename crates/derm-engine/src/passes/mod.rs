//! Passes: each rewrites a program, or decides where its buffers lie, without a change of results.

pub(crate) mod conv_chain;
pub(crate) mod epilogue;
mod fold;
pub(crate) mod hard_swish;
pub(crate) mod in_place;
pub(crate) mod int8;
pub(crate) mod liveness;
