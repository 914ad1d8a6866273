//! The pass along rows, by `fast_image_resize`.

use super::axis::Axis;
use crate::spec::Filter;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{InnerPixel, U8x3};
use fast_image_resize::{FilterType, ImageView, ResizeAlg, ResizeOptions, Resizer};

/// Rows of `width` pixels that are resized at once. The weights are computed anew for each batch, so
/// that a batch should be large; its bytes are held.
pub(super) fn batch_rows(width: u32) -> usize {
    (384 * 1024 / (3 * width as usize)).clamp(32, 128)
}

/// Resizes rows.
pub(super) struct HorizontalPass {
    resizer: Resizer,
    filter: FilterType,
    axis: Axis,
    /// The rows that were resized last; their memory is reused.
    target: TypedImage<'static, U8x3>,
}

impl HorizontalPass {
    pub(super) fn new(filter: Filter, axis: Axis) -> HorizontalPass {
        let filter = match filter {
            Filter::Bilinear => FilterType::Bilinear,
            Filter::Bicubic => FilterType::CatmullRom,
        };
        let target = TypedImage::new(axis.length, 1);
        HorizontalPass { resizer: Resizer::new(), filter, axis, target }
    }

    /// Bytes that resizing `rows` rows at once holds.
    pub(super) fn memory(filter: Filter, axis: Axis, rows: usize) -> u64 {
        let outputs = u64::from(axis.length);
        // The weights of each output, in double precision and in fixed point.
        let scale = (axis.source.1 / f64::from(axis.length)).max(1.0);
        let window = 2 * (filter.support() * scale).ceil() as u64 + 1;
        outputs * (3 * rows as u64 + 10 * window + 64)
    }

    /// Bytes of a resized row.
    pub(super) fn row_bytes(&self) -> usize {
        3 * self.axis.length as usize
    }

    /// Resizes whole rows of `width` pixels.
    pub(super) fn resize(&mut self, rows: &[u8], width: u32) -> &[u8] {
        let count = (rows.len() / (3 * width as usize)) as u32;
        let (start, length) = self.axis.source;
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(self.filter)).crop(
            start,
            0.0,
            length,
            f64::from(count),
        );
        let source: TypedImageRef<'_, U8x3> =
            TypedImageRef::from_buffer(width, count, rows).expect("whole rows of RGB");
        if self.target.height() != count {
            // The old rows are freed before the new ones are allocated.
            self.target = TypedImage::new(0, 0);
            self.target = TypedImage::new(self.axis.length, count);
        }
        // Of RGB alone: code for every other type of pixel would be 3 MB of the binary.
        self.resizer
            .resize_typed(&source, &mut self.target, &options)
            .expect("the window lies inside the rows");
        U8x3::components(self.target.pixels())
    }
}
