#![doc = include_str!("../README.md")]

mod decoder;
mod error;
mod format;
mod ink;
mod jpeg;
mod limits;
mod orientation;
mod picture;
mod prepared;
mod resample;
mod spec;
mod strips;
mod upright;
mod warning;

pub use error::Error;
pub use format::Format;
pub use image::RgbImage;
pub use limits::Limits;
pub use picture::{Cost, Picture};
pub use prepared::{Prepared, Region};
pub use spec::{ChannelOrder, Filter, Fit, Layout, Spec};
pub use warning::Warning;
