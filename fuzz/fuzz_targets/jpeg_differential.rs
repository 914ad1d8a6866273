//! Our JPEG decoder against zune-jpeg: where both find a file sound, they see the same picture.

#![no_main]

use derm_preprocess::Format;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Mean difference of two decoders' rounding, filters of subsampled colours included, in levels of 256.
const ROUNDING: f64 = 4.0;

fuzz_target!(|bytes: &[u8]| {
    let Some(file) = encoded(bytes) else { return };
    let (prepared, ours) =
        derm_fuzz::decode(&file, &[Format::Jpeg]).expect("an encoder's file is refused");
    assert_eq!(prepared.warnings, [], "an encoder's file is not sound");
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
    let theirs = JpegDecoder::new_with_options(Cursor::new(&file), options).decode();
    let theirs = theirs.expect("zune-jpeg refuses an encoder's file");
    assert_eq!(ours.len(), theirs.len());
    let sum: u64 = ours.iter().zip(&theirs).map(|(&a, &b)| u64::from(a.abs_diff(b))).sum();
    let mean = sum as f64 / theirs.len() as f64;
    assert!(mean <= ROUNDING, "mean difference {mean}");
});

/// A file whose pixels, size, and way of coding the input chooses.
fn encoded(bytes: &[u8]) -> Option<Vec<u8>> {
    let (&[width, height, quality, sampling, coding, restart], pixels) =
        bytes.split_first_chunk::<6>()?;
    let (width, height) = (u16::from(width % 80) + 1, u16::from(height % 80) + 1);
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, quality % 100 + 1);
    // Of one component the encoder counts restart intervals by its factors, which have no effect there.
    let sampling = SAMPLING[usize::from(sampling) % SAMPLING.len()];
    encoder.set_sampling_factor(if coding & 8 != 0 { SamplingFactor::F_1_1 } else { sampling });
    encoder.set_optimized_huffman_tables(coding & 1 != 0);
    if coding & 2 != 0 {
        encoder.set_progressive_scans(2 + (coding >> 4) % 8);
    }
    if coding & 4 != 0 {
        encoder.set_restart_interval(u16::from(restart % 8));
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

const SAMPLING: [SamplingFactor; 5] = [
    SamplingFactor::F_1_1,
    SamplingFactor::F_2_1,
    SamplingFactor::F_1_2,
    SamplingFactor::F_2_2,
    SamplingFactor::F_4_1,
];
