#![doc = include_str!("../README.md")]

mod decode;
mod error;
mod jpeg;
mod limits;
mod picture;
mod prepare;
mod spec;

pub use decode::{decode, dimensions};
pub use error::Error;
pub use image::RgbImage;
pub use limits::Limits;
pub use picture::Picture;
pub use prepare::{Prepared, Region};
pub use spec::{ChannelOrder, Filter, Fit, Layout, Spec};
