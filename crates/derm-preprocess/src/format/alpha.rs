//! Transparency over white.

/// Blends a channel over white.
pub(super) fn over_white(channel: u8, alpha: u8) -> u8 {
    let (channel, alpha) = (u32::from(channel), u32::from(alpha));
    ((channel * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

/// Writes a row of grey, grey and alpha, RGB, or RGBA samples (1 to 4 a pixel) as RGB.
pub(super) fn write_row(samples: &[u8], channels: usize, rgb: &mut [[u8; 3]]) {
    for (to, pixel) in rgb.iter_mut().zip(samples.chunks_exact(channels)) {
        *to = match *pixel {
            [grey] => [grey; 3],
            [grey, alpha] => [over_white(grey, alpha); 3],
            [r, g, b] => [r, g, b],
            [r, g, b, alpha] => [r, g, b].map(|channel| over_white(channel, alpha)),
            _ => unreachable!("pixels have one to four channels"),
        };
    }
}
