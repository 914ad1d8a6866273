//! CMYK to RGB.

/// Lets black ink darken RGB, as Pillow's conversion from CMYK does. `rgb` holds the complements of
/// the other inks, `black` the complement of the black ink: three and one bytes a pixel.
pub(crate) fn darken(black: &[u8], rgb: &mut [u8]) {
    for (pixel, &black) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(black) {
        *pixel = pixel.map(|value| darkened(value, black));
    }
}

/// One value of RGB.
pub(crate) fn darkened(value: u8, black: u8) -> u8 {
    let black = u32::from(black);
    // The ink times the remaining light, divided by 255 and rounded.
    let product = (255 - u32::from(value)) * black + 128;
    (black - (((product >> 8) + product) >> 8)) as u8
}
