#![doc = include_str!("README.md")]

use derm_zoo::Entry;

/// A drawn lesion, 800x600 JPEG.
pub const PICTURE: &[u8] = include_bytes!("../bins/derm-server/src/page/example.jpg");

/// The models to measure: those of `DERM_BENCH_MODELS`, else `defaults`.
pub fn models(defaults: &[&str]) -> Vec<Entry> {
    let chosen = std::env::var("DERM_BENCH_MODELS").ok();
    let names: Vec<&str> = match &chosen {
        Some(list) => list.split(',').collect(),
        None => defaults.to_vec(),
    };
    let entry =
        |name: &str| derm_zoo::entry(name).unwrap_or_else(|| panic!("the zoo has no {name:?}"));
    names.into_iter().map(entry).collect()
}
