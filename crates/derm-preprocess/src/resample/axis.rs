//! One axis of resizing: the source interval that becomes the network's region, with margins.

use crate::spec::Spec;

/// The horizontal and the vertical axis of a picture of this upright size.
pub(super) fn axes(spec: &Spec, (width, height): (u32, u32)) -> (Axis, Axis) {
    let support = spec.filter.support();
    let region = spec.region(width, height);
    let horizontal = Axis::new(width, spec.width, region.left, region.width, support);
    let vertical = Axis::new(height, spec.height, region.top, region.height, support);
    (horizontal, vertical)
}

/// One axis of the resized picture, from a little before the region to a little after it: pixels
/// near the region's edges see beyond it as they do when the whole picture is resized and then cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    /// Start and length, in source pixels.
    pub(super) source: (f64, f64),
    /// In resized pixels, margins included.
    pub(super) length: u32,
    /// Resized pixels before the region.
    pub(super) margin: u32,
}

impl Axis {
    /// `start` and `share`: where the region begins and its length, as shares of the axis (0..=1);
    /// `side`: its length in resized pixels; `support`: the filter's radius, in source or resized
    /// pixels, whichever are larger.
    fn new(source: u32, side: u32, start: f64, share: f64, support: f64) -> Axis {
        let source = f64::from(source);
        let resized = (f64::from(side) / share).round();
        let scale = resized / source;
        let reach = (support * scale.max(1.0)).ceil() + 1.0;
        let first = (start * resized).round();
        let begin = (first - reach).max(0.0);
        let end = (first + f64::from(side) + reach).min(resized);
        let source_start = begin / scale;
        Axis {
            source: (source_start, ((end - begin) / scale).min(source - source_start)),
            length: (end - begin) as u32,
            margin: (first - begin) as u32,
        }
    }
}
