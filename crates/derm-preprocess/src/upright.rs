//! The whole picture, upright.

use crate::orientation::Orientation;
use image::RgbImage;

/// A picture that is put together from stored rows.
pub(crate) struct Upright {
    orientation: Orientation,
    /// As stored.
    width: usize,
    height: usize,
    /// The next stored row.
    row: usize,
    image: RgbImage,
}

impl Upright {
    /// Bytes that a picture of this size takes.
    pub(crate) fn memory((width, height): (u32, u32)) -> u64 {
        3 * u64::from(width) * u64::from(height)
    }

    /// White, until the rows come.
    pub(crate) fn new(stored: (u32, u32), orientation: Orientation) -> Upright {
        let (width, height) = orientation.size(stored);
        let mut image = RgbImage::new(width, height);
        image.fill(255);
        Upright { orientation, width: stored.0 as usize, height: stored.1 as usize, row: 0, image }
    }

    /// Takes whole stored rows, from the top.
    pub(crate) fn push(&mut self, rows: &[u8]) {
        let Orientation { mirrored, bottom_up, transposed } = self.orientation;
        let line = self.image.width() as usize;
        let (pixels, _) = self.image.as_chunks_mut::<3>();
        for row in rows.chunks_exact(3 * self.width) {
            let y = if bottom_up { self.height - 1 - self.row } else { self.row };
            for (x, pixel) in row.as_chunks::<3>().0.iter().enumerate() {
                let x = if mirrored { self.width - 1 - x } else { x };
                pixels[if transposed { x * line + y } else { y * line + x }] = *pixel;
            }
            self.row += 1;
        }
    }

    pub(crate) fn finish(self) -> RgbImage {
        self.image
    }
}
