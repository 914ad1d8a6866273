//! Hostile and unusual files: each gets its own error, before memory is allocated, and none panics.

#![allow(clippy::unwrap_used, missing_docs)]

use derm_preprocess::{Error, Limits, Picture, Spec};
use proptest::prelude::*;

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn decoded(bytes: &[u8], limits: &Limits) -> Result<(u32, u32), Error> {
    let picture = Picture::open(bytes, limits)?;
    picture.prepare(&Spec::square(224)).map(|prepared| prepared.full_size)
}

#[test]
fn nothing_and_nonsense_are_told_apart() {
    let limits = Limits::default();
    assert!(matches!(decoded(b"", &limits), Err(Error::Empty)));
    assert!(matches!(decoded(b"hello, world", &limits), Err(Error::UnknownFormat)));
}

#[test]
fn too_many_bytes_are_refused_unread() {
    let limits = Limits { max_bytes: 10, ..Limits::default() };
    let error = decoded(&bytes("rgb.png"), &limits).unwrap_err();
    assert!(matches!(error, Error::TooManyBytes { limit: 10, .. }), "{error}");
}

#[test]
fn too_many_pixels_are_refused_from_the_header_alone() {
    let limits = Limits { max_pixels: 1000, ..Limits::default() };
    for name in ["rgb.png", "baseline.jpg", "lossy.webp", "rgb.bmp", "two-frames.gif", "rgb.tiff"] {
        let error = decoded(&bytes(name), &limits).unwrap_err();
        assert!(matches!(error, Error::TooManyPixels { limit: 1000, .. }), "{name}: {error}");
    }
}

#[test]
fn a_bomb_of_pixels_costs_nothing() {
    // A PNG whose header says 60000 x 60000 and whose data is empty.
    let mut bomb = bytes("rgb.png");
    bomb[16..20].copy_from_slice(&60_000u32.to_be_bytes());
    bomb[20..24].copy_from_slice(&60_000u32.to_be_bytes());
    assert!(decoded(&bomb, &Limits::default()).is_err());
    // And a JPEG.
    let mut bomb = bytes("baseline.jpg");
    let start = bomb.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    bomb[start + 5..start + 9].copy_from_slice(&[0xea, 0x60, 0xea, 0x60]);
    let error = decoded(&bomb, &Limits::default()).unwrap_err();
    assert!(matches!(error, Error::TooManyPixels { .. }), "{error}");
}

#[test]
fn a_webp_whose_pixels_are_larger_than_its_header_says_is_refused_by_the_header() {
    let lossy = bytes("lossy.webp");
    let extended = |width: u32, height: u32| {
        let side = |length: u32| (length - 1).to_le_bytes();
        let (w, h) = (side(width), side(height));
        let canvas = [&[0; 4], &w[..3], &h[..3]].concat();
        let chunks = [b"WEBPVP8X\x0a\0\0\0", &canvas[..], &lossy[12..]].concat();
        [b"RIFF", &(chunks.len() as u32).to_le_bytes()[..], &chunks].concat()
    };
    let (width, height) = decoded(&lossy, &Limits::default()).unwrap();
    let file = extended(width, height);
    assert_eq!(decoded(&file, &Limits::default()).unwrap(), (width, height));
    let file = extended(16, 16);
    let error = Picture::open(&file[..], &Limits::default()).unwrap_err();
    assert!(matches!(error, Error::Undecodable { format: "WebP", .. }), "{error}");
}

#[test]
fn memory_is_counted_before_it_is_taken() {
    let limits = Limits { max_memory: 100_000, ..Limits::default() };
    for name in ["rgb.png", "baseline.jpg", "progressive.jpg"] {
        let error = decoded(&bytes(name), &limits).unwrap_err();
        assert!(matches!(error, Error::TooMuchMemory { .. }), "{name}: {error}");
    }
}

#[test]
fn a_progressive_jpeg_is_counted_with_its_coefficients() {
    let (baseline, progressive) = (bytes("baseline.jpg"), bytes("progressive.jpg"));
    let limits = Limits { max_memory: 600_000, ..Limits::default() };
    assert_eq!(decoded(&baseline, &limits).unwrap(), (320, 240));
    assert!(matches!(decoded(&progressive, &limits), Err(Error::TooMuchMemory { .. })));
}

#[test]
fn orientation_swaps_the_size() {
    let limits = Limits::default();
    assert_eq!(decoded(&bytes("orientation-1.jpg"), &limits).unwrap(), (120, 80));
    assert_eq!(decoded(&bytes("orientation-6.jpg"), &limits).unwrap(), (80, 120));
    let file = bytes("orientation-6.jpg");
    assert_eq!(Picture::open(&file[..], &limits).unwrap().size(), (80, 120));
}

#[test]
fn truncated_files_never_panic() {
    for name in ["rgb.png", "baseline.jpg", "lossy.webp", "rgb.bmp", "two-frames.gif", "rgb.tiff"] {
        let whole = bytes(name);
        for part in 0..32 {
            let _ = decoded(&whole[..whole.len() * part / 32], &Limits::default());
        }
    }
}

#[test]
fn extreme_shapes_are_prepared() {
    for (width, height) in [(1, 1), (1, 5000), (5000, 1), (3, 2)] {
        let mut png = Vec::new();
        image::RgbImage::from_pixel(width, height, image::Rgb([10, 20, 30]))
            .write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png)
            .unwrap();
        let spec = Spec::square(64);
        let picture = Picture::open(&png, &Limits::default()).unwrap();
        let prepared = picture.prepare(&spec).unwrap();
        assert!(prepared.view.pixels().all(|pixel| pixel.0 == [10, 20, 30]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Flipped bytes give a picture or an error, never a panic.
    #[test]
    fn damaged_files_never_panic(
        which in 0usize..6,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let names =
            ["rgb.png", "baseline.jpg", "progressive.jpg", "lossy.webp", "two-frames.gif", "rgb.tiff"];
        let mut file = bytes(names[which]);
        for (index, value) in damage {
            let index = index.index(file.len());
            file[index] = value;
        }
        let _ = decoded(&file, &Limits::default());
    }
}
