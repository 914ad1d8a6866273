//! Query strings.

#![no_main]

use derm_fuzz::{metered, watch_panics};
use derm_server::fuzz::query;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    watch_panics();
    let (_, used) = metered(|| query(text));
    let allowed = 8 * text.len() as u64 + 16 * 1024;
    assert!(used.memory <= allowed, "{} bytes for {}", used.memory, text.len());
});
