//! Samples to RGB.

use super::error::unsupported;
use crate::error::Error;
use crate::format::alpha::over_white;
use crate::ink::darkened;

/// How samples become colours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Colour {
    WhiteIsZero,
    BlackIsZero,
    Rgb,
    Palette(Box<[[u8; 3]; 256]>),
    Cmyk,
    YCbCr,
}

/// The meaning of the first sample behind the colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alpha {
    None,
    /// Colours are premultiplied by it.
    Associated,
    Unassociated,
}

impl Colour {
    /// From the tag PhotometricInterpretation; a palette is still black.
    pub(super) fn new(photometric: u64) -> Result<Colour, Error> {
        Ok(match photometric {
            0 => Colour::WhiteIsZero,
            1 => Colour::BlackIsZero,
            2 => Colour::Rgb,
            3 => Colour::Palette(Box::new([[0; 3]; 256])),
            5 => Colour::Cmyk,
            6 => Colour::YCbCr,
            8..=10 => return Err(unsupported("CIELab colours")),
            32803 | 34892 => return Err(unsupported("raw sensor data")),
            32844 | 32845 => return Err(unsupported("LogLuv colours")),
            other => return Err(unsupported(&format!("photometric interpretation {other}"))),
        })
    }

    /// Samples that are colours.
    pub(super) fn samples(&self) -> usize {
        match self {
            Colour::WhiteIsZero | Colour::BlackIsZero | Colour::Palette(_) => 1,
            Colour::Rgb | Colour::YCbCr => 3,
            Colour::Cmyk => 4,
        }
    }

    /// One pixel; `samples` has 8 bits each and may have more than are used.
    pub(super) fn rgb(&self, samples: &[u8], alpha: Alpha) -> [u8; 3] {
        let rgb = match (self, samples) {
            (Colour::WhiteIsZero, [grey, ..]) => [255 - grey; 3],
            (Colour::BlackIsZero, [grey, ..]) => [*grey; 3],
            (Colour::Palette(palette), [index, ..]) => palette[usize::from(*index)],
            (Colour::Rgb, [r, g, b, ..]) => [*r, *g, *b],
            (Colour::YCbCr, [y, cb, cr, ..]) => from_ycbcr(*y, *cb, *cr),
            (Colour::Cmyk, [c, m, y, black, ..]) => {
                [c, m, y].map(|ink| darkened(255 - ink, 255 - black))
            }
            _ => unreachable!("the header has at least as many samples as colours"),
        };
        let Some(&value) = samples.get(self.samples()) else { return rgb };
        match alpha {
            Alpha::None => rgb,
            Alpha::Unassociated => rgb.map(|channel| over_white(channel, value)),
            Alpha::Associated => rgb.map(|channel| channel.saturating_add(255 - value)),
        }
    }
}

/// As in JFIF, which has TIFF's default coefficients (ITU-R BT.601).
fn from_ycbcr(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y) << 16, i32::from(cb) - 128, i32::from(cr) - 128);
    let clamped = |value: i32| ((value + (1 << 15)) >> 16).clamp(0, 255) as u8;
    [clamped(y + 91_881 * cr), clamped(y - 22_554 * cb - 46_802 * cr), clamped(y + 116_130 * cb)]
}
