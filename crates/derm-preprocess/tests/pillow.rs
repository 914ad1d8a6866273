//! The network's input is what Pillow would have made of the same file: pictures and reference
//! values are in `tests/data`, made by its `make.py`.

#![allow(clippy::unwrap_used, missing_docs)]

use derm_preprocess::{Filter, Fit, Limits, Picture, Spec};
use std::path::{Path, PathBuf};

const SIDE: u32 = 48;
/// Largest mean and largest single difference to Pillow, in grey levels of 255.
const MEAN: f64 = 0.5;
const MAX: u8 = 3;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// (mean, largest) difference between our view of `name` and the reference beside it.
fn difference(name: &str, reference: &str, filter: Filter, fit: Fit) -> (f64, u8) {
    let spec = Spec { filter, fit, ..Spec::square(SIDE) };
    let bytes = std::fs::read(data().join(name)).unwrap();
    let picture = Picture::open(&bytes, &Limits::default()).unwrap();
    let ours = picture.prepare(&spec).unwrap().view;
    let path = data().join(format!("{name}.{reference}.png"));
    let theirs = image::open(path).unwrap().into_rgb8();
    assert_eq!(ours.dimensions(), theirs.dimensions());
    let differences: Vec<u8> =
        ours.as_raw().iter().zip(theirs.as_raw()).map(|(a, b)| a.abs_diff(*b)).collect();
    let sum: f64 = differences.iter().map(|d| f64::from(*d)).sum();
    (sum / differences.len() as f64, differences.into_iter().max().unwrap())
}

#[test]
fn every_picture_is_resized_as_pillow_does() {
    let names: Vec<String> = std::fs::read_dir(data())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| data().join(format!("{name}.bicubic-crop.png")).exists())
        .collect();
    assert!(names.len() >= 30, "only {} pictures in {:?}", names.len(), data());
    let mut failures = Vec::new();
    for name in &names {
        for (reference, filter, fit) in [
            ("bilinear-stretch", Filter::Bilinear, Fit::Stretch),
            ("bicubic-crop", Filter::Bicubic, Fit::CropShortestSide(56)),
        ] {
            let (mean, max) = difference(name, reference, filter, fit);
            if mean >= MEAN || max >= MAX {
                failures.push(format!("{name} {reference}: mean {mean:.3}, max {max}"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
