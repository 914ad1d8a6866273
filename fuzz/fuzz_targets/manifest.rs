//! Manifests.

#![no_main]

use derm_fuzz::{metered, watch_panics};
use derm_model::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    watch_panics();
    let (manifest, used) = metered(|| Manifest::parse(text));
    // A tree of its values, the manifest, and the message with an excerpt.
    let allowed = 512 * text.len() as u64 + 128 * 1024;
    assert!(used.memory <= allowed, "{} bytes for {}", used.memory, text.len());
    let Ok(manifest) = manifest else { return };
    let scores = vec![0.5; manifest.classes.len()];
    let probabilities = manifest.probabilities(&scores);
    assert!(probabilities.iter().all(|p| (0.0..=1.0).contains(p)), "{probabilities:?}");
    for class in &manifest.classes {
        assert!(manifest.class_index(&class.id).is_some());
    }
});
