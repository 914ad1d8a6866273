//! Overlap of heatmaps with lesion masks.

use super::pictures;
use anyhow::Context;
use derm::{Heatmap, Region};
use image::GrayImage;
use image::imageops::FilterType;
use serde::Serialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Side of the grid on which heatmap and mask are compared, pixels.
const SIDE: u32 = 224;

/// The overlap of one heatmap with its mask.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Overlap {
    /// Share of the heatmap's sum inside the mask.
    pub energy: f64,
    /// Whether its largest value lies inside (the pointing game, Zhang et al. 2016,
    /// arXiv:1608.00507).
    pub hit: bool,
    /// Share of the view that the mask covers: the expectation of both for a random heatmap.
    pub area: f64,
}

/// The masks of a folder, by picture: `ID.png`, or `ID_segmentation.png`.
pub struct Masks(HashMap<String, PathBuf>);

impl Masks {
    /// The masks of a folder.
    ///
    /// # Errors
    /// As [`pictures::index`].
    pub fn of(folder: &Path) -> anyhow::Result<Masks> {
        let files = pictures::index(folder)?.into_iter();
        let name =
            |stem: String| stem.strip_suffix("_segmentation").map_or(stem.clone(), str::to_owned);
        Ok(Masks(files.map(|(stem, path)| (name(stem), path)).collect()))
    }

    /// `None` where the picture has no mask, or an empty one.
    pub fn overlap(
        &self,
        image: &str,
        heatmap: &Heatmap,
        size: (u32, u32),
        region: Region,
    ) -> anyhow::Result<Option<Overlap>> {
        let Some(path) = self.0.get(image) else { return Ok(None) };
        let mask = image::open(path).with_context(|| path.display().to_string())?.to_luma8();
        Ok(overlap(heatmap, &seen(&mask, size, region)))
    }
}

/// The part of a mask that the network saw. A mask whose aspect ratio differs from its picture's is of
/// the frame from which the picture was cropped at the centre.
fn seen(mask: &GrayImage, (width, height): (u32, u32), region: Region) -> GrayImage {
    let (whole_width, whole_height) = (f64::from(mask.width()), f64::from(mask.height()));
    let aspect = f64::from(width) / f64::from(height);
    let picture_width = whole_width.min(whole_height * aspect);
    let picture_height = picture_width / aspect;
    let left = (whole_width - picture_width) / 2.0 + region.left * picture_width;
    let top = (whole_height - picture_height) / 2.0 + region.top * picture_height;
    let (left, top) = (left.round() as u32, top.round() as u32);
    let width = ((region.width * picture_width).round() as u32).clamp(1, mask.width() - left);
    let height = ((region.height * picture_height).round() as u32).clamp(1, mask.height() - top);
    let part = image::imageops::crop_imm(mask, left, top, width, height).to_image();
    image::imageops::resize(&part, SIDE, SIDE, FilterType::Nearest)
}

fn overlap(heatmap: &Heatmap, mask: &GrayImage) -> Option<Overlap> {
    let large = heatmap.resized(SIDE, SIDE);
    let (mut inside, mut sum, mut covered) = (0.0, 0.0, 0u32);
    let mut peak = (f32::NEG_INFINITY, false);
    for ((row, column), &value) in large.values().indexed_iter() {
        let in_mask = mask.get_pixel(column as u32, row as u32)[0] > 127;
        sum += f64::from(value);
        inside += if in_mask { f64::from(value) } else { 0.0 };
        covered += u32::from(in_mask);
        if value > peak.0 {
            peak = (value, in_mask);
        }
    }
    let area = f64::from(covered) / f64::from(SIDE * SIDE);
    (covered > 0 && sum > 0.0).then(|| Overlap { energy: inside / sum, hit: peak.1, area })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Luma;

    #[test]
    fn a_mask_of_a_wider_frame_is_cropped_at_its_centre() {
        // The middle third of a 300x100 frame is white; the picture is that third.
        let mask = GrayImage::from_fn(300, 100, |x, _| {
            Luma([if (100..200).contains(&x) { 255 } else { 0 }])
        });
        let whole = Region { left: 0.0, top: 0.0, width: 1.0, height: 1.0 };
        assert!(seen(&mask, (50, 50), whole).pixels().all(|pixel| pixel[0] == 255));
        // The picture is the frame: the network saw its left half, of which a third is white.
        let half = Region { width: 0.5, ..whole };
        let white = seen(&mask, (300, 100), half).pixels().filter(|pixel| pixel[0] == 255).count();
        assert!((white as f64 / f64::from(SIDE * SIDE) - 1.0 / 3.0).abs() < 0.01);
    }
}
