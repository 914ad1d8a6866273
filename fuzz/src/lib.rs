//! What the fuzz targets share: a meter of memory and time, and what a panic means.

mod meter;
mod panics;
mod picture;

pub use meter::{Use, metered};
pub use panics::watch_panics;
pub use picture::{LIMITS, decode};
