//! What several tests need.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

use derm_preprocess::{Error, Limits, Picture, Prepared, RgbImage, Spec};

/// A file of `tests/data`.
pub fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The whole picture, upright.
pub fn decoded(bytes: &[u8]) -> Result<(RgbImage, Prepared), Error> {
    let picture = Picture::open(bytes, &Limits::default())?;
    picture.prepare_with_upload(&Spec::square(16)).map(|(prepared, all)| (all, prepared))
}

/// The error for a file that is refused.
pub fn refused(bytes: &[u8]) -> Error {
    match decoded(bytes) {
        Ok((picture, _)) => panic!("decoded {:?}", picture.dimensions()),
        Err(error) => error,
    }
}

/// Mean absolute difference of two pictures of one size, in grey levels.
pub fn difference(a: &RgbImage, b: &RgbImage) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions());
    let sum: u64 = a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.as_raw().len() as f64
}
