#![doc = include_str!("../README.md")]

mod autodiff;
mod error;
mod explainer;
mod explainers;
mod layers;
mod methods;
mod reachability;
mod render;

pub use error::Error;
pub use explainer::{Evaluation, Explainer};
pub use explainers::{ExplainRequest, ExplainerRef, Explainers};
pub use layers::{Layer, LayerInfo, layers};
pub use methods::{Method, Watch};
pub use render::{
    Colormap, Heatmap, MapRange, Scale, blend, contour, encode_npy, encode_png, mask, transparent,
};
