//! Comparison with the training code's probabilities, and the search for what it did otherwise.

#![allow(clippy::unwrap_used, missing_docs)]

use derm::{Comparison, ModelSource, Options, Reference, ReferencePicture};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A network of 6x6 pixels that is sensitive to each.
fn model(folder: &Path) -> PathBuf {
    let operators = derm_zoo::operators().unwrap();
    operators.iter().find(|operator| operator.name == "linear").unwrap().make(folder).unwrap()
}

/// Pictures with colours and edges, larger than the input and not square.
fn pictures(folder: &Path) -> Vec<PathBuf> {
    let picture = |number: u32| {
        let path = folder.join(format!("{number}.png"));
        let colour = |x: u32, y: u32| {
            let value = |factor: u32| ((x * factor + y * y * number + x * y) % 256) as u8;
            image::Rgb([value(number * 3 + 5), value(11) / 2, 255 - value(number + 7) / 3])
        };
        image::RgbImage::from_fn(31 + number, 23, colour).save(&path).unwrap();
        path
    };
    (1..5).map(picture).collect()
}

/// The comparison of a manifest in which `from` became `to` with what the unchanged one computes.
fn compared(changes: &[(&str, &str)]) -> (Comparison, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let manifest = std::fs::read_to_string(model.join("model.toml")).unwrap();
    let source = ModelSource::at(&model);
    let classifier = derm::Classifier::new(source.clone(), Options::default()).unwrap();
    let expected = |path: PathBuf| {
        let picture = classifier.open(std::fs::read(&path).unwrap()).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(3600);
        let report = classifier.classify(&picture, &derm::Request::default(), deadline).unwrap();
        let mut probabilities = vec![0.0; 2];
        for prediction in report.predictions {
            probabilities[prediction.index] = prediction.probability;
        }
        ReferencePicture { path, probabilities }
    };
    let pictures: Vec<ReferencePicture> =
        pictures(folder.path()).into_iter().map(expected).collect();
    let changed = changes.iter().fold(manifest, |text, (from, to)| {
        assert!(text.contains(from), "{text}");
        text.replace(from, to)
    });
    std::fs::write(model.join("model.toml"), changed).unwrap();
    let comparison = Comparison::new(&source, &Options::default(), Reference { pictures }).unwrap();
    (comparison, folder)
}

#[test]
fn the_same_preprocessing_agrees() {
    let (comparison, _folder) = compared(&[]);
    let found = comparison.agreement().unwrap();
    assert_eq!((found.pictures, found.same_class), (4, 4));
    assert!(found.is_within_tolerance() && found.largest_difference < 1e-5, "{found:?}");
    assert_eq!(comparison.better_fit().unwrap(), None);
}

#[test]
fn each_usual_mistake_is_found() {
    let imagenet = "mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]";
    let half = "mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]";
    let crop = "fit = { crop_shortest_side = 6 }";
    for (changes, expected) in [
        (&[(half, imagenet)][..], &["mean", "std"][..]),
        (&[(crop, "channels = \"bgr\"\nfit = { crop_shortest_side = 6 }")], &["channels"]),
        (&[(crop, "fit = \"stretch\"")], &["fit"]),
        (&[(crop, "filter = \"bicubic\"\nfit = { crop_shortest_side = 6 }")], &["filter"]),
        (&[(half, imagenet), (crop, "channels = \"bgr\"")], &["channels", "mean", "std", "fit"]),
    ] {
        let (comparison, _folder) = compared(changes);
        assert!(comparison.agreement().unwrap().largest_difference > 1e-4, "{changes:?}");
        let better = comparison.better_fit().unwrap().unwrap_or_else(|| panic!("{changes:?}"));
        let names: Vec<&str> =
            better.changes.iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(names, expected, "{changes:?} {better:?}");
        assert!(better.agreement.largest_difference < 1e-5, "{better:?}");
    }
}

#[test]
fn a_picture_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nowhere.png");
    let pictures = vec![ReferencePicture { path, probabilities: vec![0.5, 0.5] }];
    let source = ModelSource::at(model(folder.path()));
    let comparison = Comparison::new(&source, &Options::default(), Reference { pictures }).unwrap();
    let message = comparison.agreement().unwrap_err().to_string();
    assert!(message.contains("nowhere.png"), "{message}");
}
