#![doc = include_str!("../README.md")]

mod classifier;
mod drawing;
mod error;
mod report;
mod request;
mod views;

pub use classifier::{Checked, Classifier, Footprint, Options, Reload};
pub use derm_gradcam::{Colormap, Heatmap, Layer, LayerInfo, Method};
pub use derm_memstat as memory;
pub use derm_model::{Class, Manifest, ModelSource, Output, Precision, Uncertain};
pub use derm_preprocess::{Error as PictureError, Limits, Region};
pub use error::Error;
pub use report::{Explanation, Prediction, Report, Timings, Uncertainty};
pub use request::{Drawing, Explain, Request, Size};
