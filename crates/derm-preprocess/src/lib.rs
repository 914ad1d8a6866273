#![doc = include_str!("../README.md")]

mod decode;
mod down;
mod error;
mod jpeg;
mod limits;
mod prepare;
mod resample;
mod spec;

pub use decode::dimensions;
pub use error::Error;
pub use image::RgbImage;
pub use limits::Limits;
pub use prepare::{Prepared, Region};
pub use spec::{ChannelOrder, Filter, Fit, Layout, Spec};
