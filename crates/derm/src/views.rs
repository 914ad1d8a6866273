//! The flips and turns of a picture, for test-time augmentation.

use derm_preprocess::RgbImage;
use ndarray::Array2;
use std::borrow::Cow;

/// Views of a square picture; a picture of other shape has half of them.
pub(crate) const MOST: usize = 8;

/// How many different views there are of a picture of this size.
pub(crate) fn count(width: u32, height: u32) -> usize {
    if width == height { MOST } else { MOST / 2 }
}

/// One of the symmetries of the square (dihedral group of order eight): the picture itself, then
/// its three flips that keep rows rows, then those with rows and columns exchanged.
pub(crate) fn view(picture: &RgbImage, number: usize) -> Cow<'_, RgbImage> {
    if number == 0 {
        return Cow::Borrowed(picture);
    }
    let (width, height) = picture.dimensions();
    let [mirrored, upside_down, turned] = [1, 2, 4].map(|bit| number & bit != 0);
    Cow::Owned(RgbImage::from_fn(width, height, |x, y| {
        let x = if mirrored { width - 1 - x } else { x };
        let y = if upside_down { height - 1 - y } else { y };
        let (x, y) = if turned { (y, x) } else { (x, y) };
        *picture.get_pixel(x, y)
    }))
}

/// Values of a view as the picture has them.
pub(crate) fn back(values: &Array2<f32>, number: usize) -> Array2<f32> {
    let (height, width) = values.dim();
    let [mirrored, upside_down, turned] = [1, 2, 4].map(|bit| number & bit != 0);
    let mut result = Array2::zeros(if turned { (width, height) } else { (height, width) });
    for ((y, x), &value) in values.indexed_iter() {
        let x = if mirrored { width - 1 - x } else { x };
        let y = if upside_down { height - 1 - y } else { y };
        let (x, y) = if turned { (y, x) } else { (x, y) };
        result[[y, x]] = value;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn all_views_differ_and_hold_the_same_pixels() {
        for (width, height) in [(3, 3), (4, 2)] {
            let picture =
                RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 0]));
            let views: HashSet<Vec<u8>> = (0..count(width, height))
                .map(|number| view(&picture, number).as_raw().clone())
                .collect();
            assert_eq!(views.len(), count(width, height));
            for pixels in views {
                let mut pixels: Vec<_> = pixels.chunks(3).map(<[u8]>::to_vec).collect();
                pixels.sort_unstable();
                assert!(pixels.windows(2).all(|two| two[0] != two[1]), "a pixel is there twice");
            }
        }
    }

    #[test]
    fn back_is_where_the_view_came_from() {
        let picture = RgbImage::from_fn(4, 4, |x, y| image::Rgb([(4 * y + x) as u8, 0, 0]));
        for number in 0..MOST {
            let seen = view(&picture, number);
            let values = Array2::from_shape_fn((4, 4), |(y, x)| {
                f32::from(seen.get_pixel(x as u32, y as u32).0[0])
            });
            let expected = Array2::from_shape_fn((4, 4), |(y, x)| (4 * y + x) as f32);
            assert_eq!(back(&values, number), expected, "{number}");
        }
    }
}
