//! What the pixels of a page are: colours, samples, planes.

use super::colour::{Alpha, Colour};
use super::compression::Compression;
use super::directory::Directory;
use super::error::{undecodable, unsupported};
use super::samples::Samples;
use crate::error::Error;

pub(super) struct Pixels {
    pub(super) colour: Colour,
    pub(super) alpha: Alpha,
    /// Each sample has strips or tiles of its own.
    pub(super) planar: bool,
    /// Of a pixel, in all planes.
    pub(super) samples: usize,
    pub(super) layout: Samples,
    /// JPEGs in the file have RGB, not YCbCr.
    pub(super) is_rgb: bool,
}

impl Pixels {
    /// As they are after decompression.
    pub(super) fn read(
        directory: &Directory,
        bytes: &[u8],
        compression: Compression,
    ) -> Result<Pixels, Error> {
        let tag = |tag: u16| directory.first(bytes, tag);
        let mut colour = Colour::new(tag(262).unwrap_or(1))?;
        let samples = tag(277).unwrap_or(1) as usize;
        let layout = sample_layout(directory, bytes, samples, compression)?;
        let planar = tag(284) == Some(2) && samples > 1;
        let is_rgb = colour == Colour::Rgb;
        if compression == Compression::Jpeg {
            let is_read = matches!(colour, Colour::BlackIsZero | Colour::Rgb | Colour::YCbCr);
            if !is_read || planar || layout.bits() != 8 {
                return Err(unsupported("JPEG compression of these colours"));
            }
            // What strips and tiles are decoded to.
            let layout = Samples::new(8, 1, directory.order, false)?;
            let (colour, alpha) = (Colour::Rgb, Alpha::None);
            return Ok(Pixels { colour, alpha, planar, samples: 3, layout, is_rgb });
        }
        if !(colour.samples()..=64).contains(&samples) {
            return Err(undecodable(format!("it has {samples} samples a pixel")));
        }
        if let Colour::Palette(palette) = &mut colour {
            read_palette(palette, directory, bytes, &layout)?;
        }
        let subsampling = |index| {
            directory.field(530).map_or(Some(2), |f| f.value(bytes, directory.order, index))
        };
        if colour == Colour::YCbCr && (subsampling(0), subsampling(1)) != (Some(1), Some(1)) {
            return Err(unsupported("subsampled YCbCr colours"));
        }
        let alpha = alpha(directory, bytes, &colour, samples);
        Ok(Pixels { colour, alpha, planar, samples, layout, is_rgb })
    }
}

fn sample_layout(
    directory: &Directory,
    bytes: &[u8],
    samples: usize,
    compression: Compression,
) -> Result<Samples, Error> {
    let tag = |tag: u16| directory.first(bytes, tag);
    match tag(339).unwrap_or(1) {
        1 | 4 => {}
        2 => return Err(unsupported("signed samples")),
        3 => return Err(unsupported("floating-point samples")),
        _ => return Err(unsupported("complex samples")),
    }
    let bits = directory.field(258);
    let value = |index| bits.and_then(|bits| bits.value(bytes, directory.order, index));
    let first = value(0).unwrap_or(1);
    let count = bits.map_or(0, |bits| bits.count().min(samples));
    if (1..count).any(|index| value(index) != Some(first)) {
        return Err(unsupported("samples of different sizes"));
    }
    let has_palette = tag(262) == Some(3);
    // As libtiff: other compressions have no predictor, whatever the tag says.
    let predictor = match compression {
        Compression::Lzw | Compression::Deflate => tag(317).unwrap_or(1),
        _ => 1,
    };
    Samples::new(first, predictor, directory.order, has_palette)
}

/// Reads the colour map: 16 bits a value, all reds first.
fn read_palette(
    palette: &mut [[u8; 3]; 256],
    directory: &Directory,
    bytes: &[u8],
    layout: &Samples,
) -> Result<(), Error> {
    let map = directory.field(320).ok_or_else(|| undecodable("it has no colour map"))?;
    if layout.bits() > 8 {
        return Err(unsupported("a palette of more than 256 colours"));
    }
    let colours = 1 << layout.bits();
    for (index, colour) in palette.iter_mut().take(colours).enumerate() {
        for (channel, to) in colour.iter_mut().enumerate() {
            let value = map.value(bytes, directory.order, channel * colours + index);
            *to = (value.ok_or_else(|| undecodable("its colour map is cut short"))? >> 8) as u8;
        }
    }
    Ok(())
}

fn alpha(directory: &Directory, bytes: &[u8], colour: &Colour, samples: usize) -> Alpha {
    if samples == colour.samples() {
        return Alpha::None;
    }
    match directory.first(bytes, 338) {
        Some(1) => Alpha::Associated,
        Some(2) => Alpha::Unassociated,
        // As Pillow reads RGB with a fourth sample that is not described.
        None if *colour == Colour::Rgb && samples == 4 => Alpha::Unassociated,
        _ => Alpha::None,
    }
}
