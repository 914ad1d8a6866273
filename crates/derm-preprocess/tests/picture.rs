//! One `Picture`: its header is read once, its cost is known before decoding, and one decoding gives
//! the network's view and the whole picture.

#![allow(clippy::unwrap_used, missing_docs)]

use derm_preprocess::{Error, Fit, Format, Limits, Picture, Spec};
use std::time::Instant;

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn open(name: &str) -> Picture<'static> {
    Picture::open(bytes(name), &Limits::default()).unwrap()
}

#[test]
fn the_header_tells_format_size_and_cost() {
    let picture = open("orientation-6.jpg");
    assert_eq!((picture.format(), picture.size()), (Format::Jpeg, (80, 120)));
    let cost = picture.cost(&Spec::square(224)).unwrap();
    assert_eq!(cost.pixels, 120 * 80);
    let with_upload = picture.cost_with_upload(&Spec::square(224)).unwrap();
    assert_eq!(with_upload.memory, cost.memory + 3 * cost.pixels);
}

#[test]
fn the_upload_is_the_picture_upright_from_the_same_decoding() {
    let spec = Spec::square(64);
    for number in 1..=8 {
        let picture = open(&format!("orientation-{number}.jpg"));
        let (width, height) = picture.size();
        let (prepared, upload) = picture.prepare_with_upload(&spec).unwrap();
        assert_eq!(prepared, picture.prepare(&spec).unwrap());
        // A resize to the same size changes nothing.
        let same = Spec { width, height, fit: Fit::Stretch, ..Spec::square(1) };
        assert_eq!(upload, picture.prepare(&same).unwrap().view, "orientation {number}");
    }
}

#[test]
fn memory_is_checked_for_what_is_asked() {
    let spec = Spec::square(64);
    let file = bytes("large.jpg");
    let needed = Picture::open(&file, &Limits::default()).unwrap().cost(&spec).unwrap().memory;
    let limits = Limits { max_memory: needed, ..Limits::default() };
    let picture = Picture::open(&file, &limits).unwrap();
    picture.prepare(&spec).unwrap();
    let error = picture.prepare_with_upload(&spec).unwrap_err();
    assert!(matches!(error, Error::TooMuchMemory { limit, .. } if limit == needed), "{error}");
}

#[test]
fn decoding_stops_at_the_deadline() {
    let limits = Limits { deadline: Some(Instant::now()), ..Limits::default() };
    for name in ["large.jpg", "progressive.jpg", "rgb.png", "rgb.bmp"] {
        let picture = Picture::open(bytes(name), &limits).unwrap();
        let error = picture.prepare(&Spec::square(64)).unwrap_err();
        assert!(matches!(error, Error::TimedOut), "{name}: {error}");
    }
}

#[test]
fn a_picture_moves_to_another_thread() {
    let picture = open("rgb.png");
    let view = std::thread::spawn(move || picture.prepare(&Spec::square(8)).unwrap().view);
    assert_eq!(view.join().unwrap().dimensions(), (8, 8));
}

#[test]
fn pixels_in_memory_are_seen_as_the_file_that_has_them() {
    let spec = Spec::square(32);
    let picture = open("baseline.jpg");
    let whole = picture.upright().unwrap();
    assert_eq!(whole, picture.prepare_with_upload(&spec).unwrap().1);
    let limits = Limits { max_bytes: 1, ..Limits::default() };
    let size = whole.dimensions();
    let of = |channels, samples: &[u8]| {
        Picture::of_pixels(size, channels, samples.to_vec(), &limits)?.upright()
    };
    assert_eq!(of(3, whole.as_raw()).unwrap(), whole);
    let same = Picture::of_pixels(size, 3, &whole.as_raw()[..], &limits).unwrap();
    assert_eq!((same.format(), same.size()), (Format::Pixels, size));
    assert_eq!(same.prepare(&spec).unwrap().view, picture.prepare(&spec).unwrap().view);
    // Grey, with alpha, and both: what is transparent is white.
    let with_alpha = |alpha| -> Vec<u8> {
        whole.pixels().flat_map(|p| [p.0[0], p.0[1], p.0[2], alpha]).collect()
    };
    assert_eq!(of(4, &with_alpha(255)).unwrap(), whole);
    assert!(of(4, &with_alpha(0)).unwrap().iter().all(|&value| value == 255));
    let grey: Vec<u8> = whole.pixels().map(|p| p.0[0]).collect();
    let pairs: Vec<u8> = grey.iter().flat_map(|&value| [value, 255]).collect();
    assert_eq!(of(1, &grey).unwrap(), of(2, &pairs).unwrap());
    assert!(of(1, &grey).unwrap().pixels().zip(&grey).all(|(p, &value)| p.0 == [value; 3]));
}

#[test]
fn pixels_of_another_shape_are_refused_before_memory_is_taken() {
    let of = |size, channels, samples: usize| {
        Picture::of_pixels(size, channels, vec![0; samples], &Limits::default()).unwrap_err()
    };
    for (size, channels, samples) in [
        ((2, 2), 3, 11),
        ((2, 2), 0, 0),
        ((2, 2), 5, 20),
        ((0, 2), 3, 0),
        ((2, 0), 3, 0),
        ((u32::MAX, u32::MAX), 4, 7),
    ] {
        assert!(matches!(of(size, channels, samples), Error::Undecodable { format: "array", .. }));
    }
    let limits = Limits { max_pixels: 3, ..Limits::default() };
    let large = Picture::of_pixels((2, 2), 1, vec![0; 4], &limits);
    assert!(matches!(large, Err(Error::TooManyPixels { limit: 3, .. })));
    let limits = Limits { max_memory: 10, ..Limits::default() };
    let picture = Picture::of_pixels((2, 2), 1, vec![0; 4], &limits).unwrap();
    assert!(matches!(picture.upright(), Err(Error::TooMuchMemory { .. })));
}
