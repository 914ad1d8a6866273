//! Files of a model that are removed, replaced or overwritten while it is served: graph, manifest,
//! footprint and digest of an answer are those of one model.

#![allow(clippy::unwrap_used, missing_docs)]
#![cfg(unix)]

use derm::{Classifier, Digest, Explain, Method, ModelSource, Options, Reload, Report, Request};
use std::num::NonZeroUsize;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Writes a model into a folder, over what is there: a network of the zoo, with classes `x0` to `x6`.
fn put(folder: &Path, network: &str, x: &str) {
    let made = derm_zoo::entry(network).unwrap().make(&derm_zoo::folder()).unwrap();
    std::fs::create_dir_all(folder).unwrap();
    std::fs::copy(made.join("model.onnx"), folder.join("model.onnx")).unwrap();
    let manifest = std::fs::read_to_string(made.join("model.toml")).unwrap();
    let manifest = manifest.replace("id = \"c", &format!("id = \"{x}"));
    std::fs::write(folder.join("model.toml"), manifest).unwrap();
}

fn put_first(folder: &Path) {
    put(folder, "mobilenetv2.opset13", "a");
}

fn put_second(folder: &Path) {
    put(folder, "resnet18.opset13", "b");
}

/// A classifier that loads its model again after every second picture.
fn classifier(path: &Path) -> Classifier {
    let reload = Reload { uses: NonZeroUsize::new(2).unwrap(), jitter: 0 };
    Classifier::new(ModelSource::at(path), Options::default().with_reload(reload)).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

fn classify(classifier: &Classifier, request: &Request) -> Report {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../derm-preprocess/tests/data");
    let picture = classifier.open(std::fs::read(format!("{data}/baseline.jpg")).unwrap()).unwrap();
    classifier.classify(&picture, request, soon()).unwrap()
}

/// What tells one model from the other: its digest, and the probability of each class.
type Answer = (Digest, Vec<(String, f32)>);

fn answer(classifier: &Classifier) -> Answer {
    let report = classify(classifier, &Request::default());
    assert!(
        report.predictions.iter().all(|one| { report.manifest.classes[one.index].id == one.class })
    );
    (report.digest, report.predictions.into_iter().map(|p| (p.class, p.probability)).collect())
}

/// A folder with the first model, and the answers of the first and of the second.
fn folder() -> (TempDir, Answer, Answer) {
    let answer_of = |put: fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path());
        answer(&classifier(folder.path()))
    };
    let folder = tempfile::tempdir().unwrap();
    put_first(folder.path());
    let (first, second) = (answer_of(put_first), answer_of(put_second));
    assert!(first.0 != second.0 && first.1 != second.1);
    (folder, first, second)
}

#[test]
fn a_removed_folder_does_not_stop_the_reloads() {
    let (folder, first, _) = folder();
    // Before the first load, and after it.
    let (early, late) = (classifier(folder.path()), classifier(folder.path()));
    assert_eq!(answer(&late), first);
    folder.close().unwrap();
    for _ in 0..5 {
        assert_eq!((answer(&early), answer(&late)), (first.clone(), first.clone()));
    }
    assert!(early.times_loaded() >= 3 && late.times_loaded() >= 3);
    assert!(late.is_superseded());
    assert!(late.reload().is_err());
    assert_eq!(answer(&late), first);
}

#[test]
fn a_replaced_model_is_ignored_until_a_reload_is_requested() {
    let (folder, first, second) = folder();
    let classifier = classifier(folder.path());
    assert_eq!(answer(&classifier), first);
    assert!(!classifier.is_superseded());
    // Moved into place, one file after the other.
    let next = tempfile::tempdir_in(folder.path()).unwrap();
    put_second(next.path());
    for name in ["model.onnx", "model.toml"] {
        std::fs::rename(next.path().join(name), folder.path().join(name)).unwrap();
        for _ in 0..5 {
            assert_eq!(answer(&classifier), first);
        }
    }
    classifier.unload();
    assert_eq!(answer(&classifier), first);
    assert!(classifier.is_superseded());
    assert_eq!(classifier.reload().unwrap(), second.0);
    for _ in 0..5 {
        assert_eq!(answer(&classifier), second);
    }
    assert!(!classifier.is_superseded());
}

#[test]
fn a_switched_symlink_is_ignored_until_a_reload_is_requested() {
    let (folder, first, second) = folder();
    put_second(&folder.path().join("second"));
    let link = folder.path().join("link");
    symlink(folder.path(), &link).unwrap();
    // Before the first load, and after it.
    let (early, late) = (classifier(&link), classifier(&link));
    assert_eq!(answer(&late), first);
    std::fs::remove_file(&link).unwrap();
    symlink(folder.path().join("second"), &link).unwrap();
    for classifier in [early, late] {
        for _ in 0..5 {
            assert_eq!(answer(&classifier), first);
        }
        classifier.reload().unwrap();
        assert_eq!(answer(&classifier), second);
    }
}

#[test]
fn a_model_that_is_copied_over_the_old_one_is_ignored_until_a_reload_is_requested() {
    let (folder, first, second) = folder();
    let classifier = classifier(folder.path());
    assert_eq!(answer(&classifier), first);
    put_second(folder.path());
    for _ in 0..5 {
        assert_eq!(answer(&classifier), first);
        // The only copy of the first model is the one in memory.
        classifier.unload();
        assert!(!classifier.unload_if_idle(Duration::ZERO));
    }
    // A plan that is not made yet would be one of the other model.
    let explain = Request::default().with_explain(Explain::new(Method::Saliency));
    let report = classify(&classifier, &explain);
    let reason = report.explanations.unwrap().unwrap_err().to_string();
    assert!(reason.contains("changed") && reason.contains("reload"), "{reason}");
    assert_eq!(report.digest, first.0);
    assert_eq!(classifier.reload().unwrap(), second.0);
    for _ in 0..5 {
        assert_eq!(answer(&classifier), second);
    }
    assert!(classify(&classifier, &explain).explanations.unwrap().is_ok());
}

/// Nothing is left of the first model: the second is taken, as a whole.
#[test]
fn a_model_that_is_overwritten_before_it_was_loaded_is_taken_whole() {
    let (folder, _, second) = folder();
    let classifier = classifier(folder.path());
    put_second(folder.path());
    assert_eq!(answer(&classifier), second);
    assert_eq!(classifier.describe(soon()).unwrap().digest, second.0);
    assert_eq!(classifier.manifest().classes[0].id, "b0");
}

#[test]
fn a_model_that_is_written_again_unchanged_is_the_same() {
    let (folder, first, _) = folder();
    let classifier = classifier(folder.path());
    assert_eq!(answer(&classifier), first);
    put_first(folder.path());
    classifier.unload();
    assert!(!classifier.is_loaded());
    assert_eq!(answer(&classifier), first);
    assert_eq!(classifier.reload().unwrap(), first.0);
}

#[test]
fn a_reload_that_fails_changes_nothing() {
    let (folder, first, second) = folder();
    let classifier = classifier(folder.path());
    let (model, manifest) = (folder.path().join("model.onnx"), folder.path().join("model.toml"));
    assert_eq!(answer(&classifier), first);
    let spoil: [&dyn Fn(); 5] = [
        &|| std::fs::write(&model, "garbage").unwrap(),
        &|| std::fs::write(&manifest, "garbage").unwrap(),
        // One class less than the graph has.
        &|| {
            let text = std::fs::read_to_string(&manifest).unwrap();
            let cut = text.rfind("\n[[classes]]").unwrap();
            std::fs::write(&manifest, &text[..cut]).unwrap();
        },
        &|| std::fs::OpenOptions::new().write(true).open(&model).unwrap().set_len(1000).unwrap(),
        &|| std::fs::remove_file(&manifest).unwrap(),
    ];
    for spoil in spoil {
        put_second(folder.path());
        spoil();
        classifier.reload().unwrap_err();
        for _ in 0..3 {
            assert_eq!(answer(&classifier), first);
        }
    }
    put_second(folder.path());
    assert_eq!(classifier.reload().unwrap(), second.0);
    assert_eq!(answer(&classifier), second);
}

/// Answers under load are each of one model, and all are answered.
#[test]
fn reloads_under_load_mix_nothing() {
    let (folder, first, second) = folder();
    let at = |name: &str| folder.path().join(name);
    put_second(&at("second"));
    let switch_to = |target: &Path| {
        symlink(target, at("next")).unwrap();
        std::fs::rename(at("next"), at("link")).unwrap();
    };
    switch_to(folder.path());
    let classifier = classifier(&at("link"));
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ask = || {
            while !ended.load(SeqCst) {
                let found = answer(&classifier);
                assert!(found == first || found == second, "{found:?}");
            }
        };
        let threads = [scope.spawn(ask), scope.spawn(ask)];
        for number in 0..6 {
            let (target, expected) = if number % 2 == 0 {
                (at("second"), &second)
            } else {
                (folder.path().to_owned(), &first)
            };
            switch_to(&target);
            assert_eq!(classifier.reload().unwrap(), expected.0);
            assert_eq!(answer(&classifier), *expected);
        }
        ended.store(true, SeqCst);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}
