#![doc = include_str!("../README.md")]

mod colormap;
mod error;
mod explainer;
mod head;
mod heatmap;
mod overlay;
mod rules;
mod target;

pub use colormap::Colormap;
pub use error::Error;
pub use explainer::{Evaluation, Explainer, Layer};
pub use heatmap::Heatmap;
pub use overlay::{blend, encode_png, transparent};
