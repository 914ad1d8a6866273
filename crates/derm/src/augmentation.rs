//! Augmentations: the flips and rotations of a picture, for test-time augmentation and smoothing.

use crate::Error;
use derm_preprocess::{RgbImage, Spec};
use ndarray::Array2;
use std::borrow::Cow;

/// Symmetries of a square; of another rectangle half of them keep its shape.
const OF_SQUARE: usize = 8;

/// How many augmentations there are of a picture of this size.
fn count(width: u32, height: u32) -> usize {
    if width == height { OF_SQUARE } else { OF_SQUARE / 2 }
}

/// The number of augmentations that the parameter `name` asks for: at least 1, the picture itself.
///
/// # Errors
/// [`Error::Parameter`]: the network's input does not have as many.
pub(crate) fn checked(asked: usize, input: &Spec, name: &'static str) -> Result<usize, Error> {
    let most = count(input.width, input.height);
    if asked > most {
        let reason = format!("the network's input has {most} flips and rotations");
        return Err(Error::Parameter { name, reason });
    }
    Ok(asked.max(1))
}

/// One of the symmetries of the square (the dihedral group of order eight): the picture itself, then
/// its three flips that keep rows rows, then those with rows and columns exchanged.
pub(crate) fn augmented(picture: &RgbImage, number: usize) -> Cow<'_, RgbImage> {
    if number == 0 {
        return Cow::Borrowed(picture);
    }
    let (width, height) = picture.dimensions();
    let [mirrored, upside_down, transposed] = [1, 2, 4].map(|bit| number & bit != 0);
    Cow::Owned(RgbImage::from_fn(width, height, |x, y| {
        let x = if mirrored { width - 1 - x } else { x };
        let y = if upside_down { height - 1 - y } else { y };
        let (x, y) = if transposed { (y, x) } else { (x, y) };
        *picture.get_pixel(x, y)
    }))
}

/// Undoes augmentation `number` on a map of values, `[rows, columns]`.
pub(crate) fn undone(values: &Array2<f32>, number: usize) -> Array2<f32> {
    let (height, width) = values.dim();
    let [mirrored, upside_down, transposed] = [1, 2, 4].map(|bit| number & bit != 0);
    let mut result = Array2::zeros(if transposed { (width, height) } else { (height, width) });
    for ((y, x), &value) in values.indexed_iter() {
        let x = if mirrored { width - 1 - x } else { x };
        let y = if upside_down { height - 1 - y } else { y };
        let (x, y) = if transposed { (y, x) } else { (x, y) };
        result[[y, x]] = value;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn all_augmentations_differ_and_hold_the_same_pixels() {
        for (width, height) in [(3, 3), (4, 2)] {
            let picture =
                RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 0]));
            let all: HashSet<Vec<u8>> = (0..count(width, height))
                .map(|number| augmented(&picture, number).as_raw().clone())
                .collect();
            assert_eq!(all.len(), count(width, height));
            for pixels in all {
                let mut pixels: Vec<_> = pixels.chunks(3).map(<[u8]>::to_vec).collect();
                pixels.sort_unstable();
                assert!(pixels.windows(2).all(|two| two[0] != two[1]), "a pixel is there twice");
            }
        }
    }

    #[test]
    fn undone_is_as_the_picture_was() {
        let picture = RgbImage::from_fn(4, 4, |x, y| image::Rgb([(4 * y + x) as u8, 0, 0]));
        for number in 0..OF_SQUARE {
            let seen = augmented(&picture, number);
            let values = Array2::from_shape_fn((4, 4), |(y, x)| {
                f32::from(seen.get_pixel(x as u32, y as u32).0[0])
            });
            let expected = Array2::from_shape_fn((4, 4), |(y, x)| (4 * y + x) as f32);
            assert_eq!(undone(&values, number), expected, "{number}");
        }
    }
}
