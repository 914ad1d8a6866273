//! Manifests.

#![no_main]

use derm_fuzz::{metered, watch_panics};
use derm_model::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    watch_panics();
    let (manifest, used) = metered(|| Manifest::parse(text));
    // A tree of its values, and the manifest.
    let allowed = 256 * text.len() as u64 + 64 * 1024;
    assert!(used.memory <= allowed, "{} bytes for {}", used.memory, text.len());
    let Ok(manifest) = manifest else { return };
    let scores = vec![0.5; manifest.classes.len()];
    let probabilities = manifest.probabilities(&scores);
    assert!(probabilities.iter().all(|p| (0.0..=1.0).contains(p)), "{probabilities:?}");
    for class in &manifest.classes {
        assert!(manifest.class_index(&class.id).is_some());
    }
});
