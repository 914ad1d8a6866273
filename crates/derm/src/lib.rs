#![doc = include_str!("../README.md")]

mod agreement;
mod augmentation;
mod classifier;
mod classify;
mod cost;
mod deadline;
mod drawing;
mod error;
mod explain;
mod lazy;
mod loaded;
mod options;
mod predict;
mod report;
mod request;
mod served;
mod view;

pub use agreement::{
    Agreement, BetterFit, Comparison, Reference, ReferenceError, ReferencePicture, TOLERANCE,
    Verdict,
};
pub use classifier::{Checked, Classifier, Description};
pub use cost::Cost;
pub use derm_gradcam::{
    Colormap, Error as ExplainError, Heatmap, Layer, LayerInfo, MapRange, Method, Scale,
};
pub use derm_memstat as memory;
pub use derm_model::{
    Class, Digest, ElementType, Error as ModelError, GraphInput, Manifest, ModelSource, Operators,
    Output, Precision, Uncertain, draft_manifest, draft_manifest_for_input,
};
pub use derm_preprocess::{Error as PictureError, Layout, Limits, Picture, Region, Warning};
pub use drawing::{Canvas, Drawn};
pub use error::{Error, Task};
pub use loaded::Footprint;
pub use options::{Options, Reload};
pub use report::{Explanation, Prediction, Rendering, Report, Timings, Uncertainty};
pub use request::{Drawing, Explain, Request, Size};
