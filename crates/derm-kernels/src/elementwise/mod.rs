//! Elementwise functions of one value and of two.

pub(crate) mod binary;
mod table;
pub(crate) mod unary;
