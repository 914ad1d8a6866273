#![doc = include_str!("../README.md")]

mod colormap;
mod error;
mod explainer;
mod explainers;
mod heatmap;
mod keep;
mod methods;
mod overlay;
mod rules;
mod tape;
mod target;

pub use colormap::Colormap;
pub use error::Error;
pub use explainer::{Evaluation, Explainer, Layer, LayerInfo, layers};
pub use explainers::{Explainers, Use, Wanted};
pub use heatmap::Heatmap;
pub use methods::{Method, Watch};
pub use overlay::{blend, contour, encode_npy, encode_png, mask, transparent};
