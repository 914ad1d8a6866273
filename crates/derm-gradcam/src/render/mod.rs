//! Heatmaps: values, resizing, colours, overlays and file formats.

mod colormap;
mod encode;
mod heatmap;
mod overlay;

pub use colormap::Colormap;
pub use encode::{encode_npy, encode_png};
pub use heatmap::{Heatmap, MapRange, Scale};
pub use overlay::{blend, contour, mask, transparent};
