//! Our JPEG decoder against the crate jpeg-decoder: where both find a file sound, they see the same picture.

#![no_main]

use derm_preprocess::Format;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;

/// Mean difference of two decoders' rounding, in levels of 256.
const ROUNDING: f64 = 4.0;

fuzz_target!(|bytes: &[u8]| {
    let Some(file) = encoded(bytes) else { return };
    let (prepared, ours) =
        derm_fuzz::decode(&file, &[Format::Jpeg]).expect("an encoder's file is refused");
    assert_eq!(prepared.warnings, [], "an encoder's file is not sound");
    let mut decoder = jpeg_decoder::Decoder::new(Cursor::new(&file));
    let mut theirs = decoder.decode().expect("jpeg-decoder refuses an encoder's file");
    if theirs.len() < ours.len() {
        // One component: as three equal ones.
        theirs = theirs.iter().flat_map(|&value| [value; 3]).collect();
    }
    assert_eq!(ours.len(), theirs.len());
    let sum: u64 = ours.iter().zip(&theirs).map(|(&a, &b)| u64::from(a.abs_diff(b))).sum();
    let mean = sum as f64 / theirs.len() as f64;
    assert!(mean <= ROUNDING, "mean difference {mean}");
});

/// A file whose pixels, size, and way of coding the input chooses. Colours are not subsampled: decoders filter them
/// differently, and tests/pillow.rs compares those with libjpeg.
fn encoded(bytes: &[u8]) -> Option<Vec<u8>> {
    let (&[width, height, quality, coding], pixels) = bytes.split_first_chunk::<4>()?;
    let (width, height) = (u16::from(width % 80) + 1, u16::from(height % 80) + 1);
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, quality % 100 + 1);
    // No restart intervals: of one component, jpeg-encoder 0.7 writes segments after them that its own
    // Huffman tables cannot read.
    encoder.set_sampling_factor(SamplingFactor::F_1_1);
    encoder.set_optimized_huffman_tables(coding & 1 != 0);
    if coding & 2 != 0 {
        encoder.set_progressive_scans(2 + (coding >> 4) % 8);
    }
    let kind = if coding & 8 != 0 { ColorType::Luma } else { ColorType::Rgb };
    let samples = if coding & 8 != 0 { 1 } else { 3 };
    let length = samples * usize::from(width) * usize::from(height);
    let pixels: Vec<u8> = pixels.iter().copied().cycle().take(length).collect();
    if pixels.len() < length {
        return None;
    }
    encoder.encode(&pixels, width, height, kind).ok()?;
    Some(file)
}
