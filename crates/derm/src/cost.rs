//! Cost: what classifying a picture takes, known before anything is decoded.

use crate::{Error, Explain, Manifest, Picture, Size, drawing};

/// Memory that classifying a picture takes, in bytes; what admission to a memory budget asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cost {
    /// Held at once by decoding and drawing, beside the picture's own bytes.
    pub picture: u64,
    /// Arenas of the inference and of the explanation. `None`: not known before the model was loaded
    /// once, or before an explanation with a plan of its own was made once.
    pub arenas: Option<u64>,
}

impl Cost {
    /// All of it, where it is known.
    pub fn total(&self) -> Option<u64> {
        self.arenas.map(|arenas| self.picture + arenas)
    }
}

/// Bytes that decoding a picture and drawing its heatmaps hold at once.
pub(crate) fn of_picture(
    picture: &Picture<'_>,
    manifest: &Manifest,
    explain: Option<&Explain>,
) -> Result<u64, Error> {
    let input = &manifest.input;
    let heatmaps = explain.map_or(1, |explain| explain.classes.len().max(1)) as u64;
    // Decoding is over when the heatmaps are drawn, on the upload if it was asked for.
    let (decoding, kept, drawn_size) = match explain.map_or(Size::Input, |explain| explain.size) {
        Size::Input => (picture.cost(input)?, 0, (input.width, input.height)),
        Size::Upload => {
            let (width, height) = picture.size();
            let upload = u64::from(width) * u64::from(height) * 3;
            (picture.cost_with_upload(input)?, upload, (width, height))
        }
    };
    Ok(decoding.memory.max(kept + drawing::memory(drawn_size) * heatmaps))
}

/// Bytes of the heatmaps of a method that attributes to pixels: float32, several at once.
pub(crate) fn of_pixel_maps(manifest: &Manifest) -> usize {
    manifest.input.width as usize * manifest.input.height as usize * 64
}
