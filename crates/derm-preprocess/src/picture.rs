use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

/// A decoded picture: RGB, 8 bits a channel, upright.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// The pixels; fewer than in the file when a large JPEG was decoded at reduced scale.
    pub pixels: RgbImage,
    /// Size in the file after orientation, width first.
    pub full_size: (u32, u32),
}

impl Picture {
    /// Turns the pixels upright. `full_size` is that of the file, before orientation.
    pub(crate) fn upright(
        pixels: RgbImage,
        full_size: (u32, u32),
        orientation: Orientation,
    ) -> Picture {
        use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
        let turned = matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH);
        let mut image = DynamicImage::ImageRgb8(pixels);
        image.apply_orientation(orientation);
        Picture {
            pixels: image.into_rgb8(),
            full_size: if turned { (full_size.1, full_size.0) } else { full_size },
        }
    }
}
