//! Report: the table, its JSON, and the check of limits.

use super::states::States;
use anyhow::Context;
use std::collections::BTreeMap;
use std::path::Path;

/// Measured memory of the original application (Django and TensorFlow, EfficientNetV2-S) in each state,
/// MiB; docs/optimization-guide.md says how.
const ORIGINAL: [(&str, Option<f64>); 8] = [
    ("idle", Some(556.0)),
    ("loaded", Some(708.0)),
    ("peak while loading", Some(768.0)),
    ("peak while predicting", Some(1002.0)),
    ("peak with Grad-CAM", Some(1247.0)),
    ("1 s after", Some(1002.0)),
    ("peak, 12 megapixels, Grad-CAM", None),
    ("unloaded", None),
];

pub(crate) fn print(measured: &[(String, States)]) {
    let widths: Vec<usize> = measured.iter().map(|(name, _)| name.len().max(8)).collect();
    print!("\n| {:<30} | the original", "resident memory, MiB");
    for ((name, _), width) in measured.iter().zip(&widths) {
        print!(" | {name:>width$}");
    }
    print!(" |\n|{:-<32}|-------------:", "");
    for width in &widths {
        print!("|{:->width$}:", "", width = width + 1);
    }
    println!("|");
    for (state, original) in ORIGINAL {
        let original = original.map_or("-".to_owned(), |mib| format!("{mib:.0}"));
        print!("| {state:<30} | {original:>12}");
        for ((_, states), width) in measured.iter().zip(&widths) {
            let found = states.iter().find(|(name, _)| *name == state);
            let found = found.map_or("-".to_owned(), |(_, mib)| format!("{mib:.1}"));
            print!(" | {found:>width$}");
        }
        println!(" |");
    }
}

/// Prints each limit that is exceeded; returns whether none is.
pub(crate) fn within_limits(states: &States, limits: &BTreeMap<String, f64>) -> bool {
    let mut within = true;
    for (state, mib) in states {
        if let Some(limit) = limits.get(*state)
            && mib > limit
        {
            println!("OVER    {state}: {mib:.1} MiB, the limit is {limit:.1}");
            within = false;
        }
    }
    for unknown in limits.keys().filter(|name| !states.iter().any(|(state, _)| state == name)) {
        println!("OVER    {unknown:?} is no state that is measured");
        within = false;
    }
    within
}

pub(crate) fn write_json(measured: &[(String, States)], path: &Path) -> anyhow::Result<()> {
    let object = |states: &States| -> serde_json::Value {
        states
            .iter()
            .map(|(state, mib)| ((*state).to_owned(), (*mib).into()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let models: serde_json::Map<String, serde_json::Value> =
        measured.iter().map(|(name, states)| (name.clone(), object(states))).collect();
    let original: serde_json::Map<String, serde_json::Value> =
        ORIGINAL.iter().map(|(state, mib)| ((*state).to_owned(), (*mib).into())).collect();
    let json = serde_json::json!({ "unit": "MiB", "original": original, "models": models });
    std::fs::write(path, format!("{json:#}\n")).with_context(|| path.display().to_string())
}
