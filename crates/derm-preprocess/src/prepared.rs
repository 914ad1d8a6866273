//! What preparing a picture gives.

use crate::warning::Warning;
use image::RgbImage;
use serde::Serialize;

/// The rectangle of the upright picture that the network sees, as shares of its sides (0..=1).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Region {
    /// Left edge.
    pub left: f64,
    /// Upper edge.
    pub top: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

/// A picture as the network gets it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Prepared {
    /// Its pixels, `width` x `height` of the [`Spec`](crate::Spec).
    pub view: RgbImage,
    /// The part of the picture that they show.
    pub region: Region,
    /// Size of the whole picture, upright: width, height.
    pub full_size: (u32, u32),
    /// What was repaired or is missing.
    pub warnings: Vec<Warning>,
}
