#![doc = include_str!("../README.md")]
// A command-line tool talks to its user on stdout.
#![allow(clippy::print_stdout)]

pub mod check;
pub mod evaluate;
pub mod explain;
pub mod manifest;
pub mod model;
pub mod pictures;
pub mod plot;
pub mod predict;
pub mod profile;
pub mod quantize;
