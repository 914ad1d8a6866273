//! JSON bodies.

#![no_main]

use derm_fuzz::{metered, watch_panics};
use derm_server::fuzz::{LARGEST, upload};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    watch_panics();
    let (_, used) = metered(|| upload("application/json", "", bytes));
    // The buffer of the largest body, and what the request holds beside it.
    let allowed = 2 * LARGEST as u64 + 8 * bytes.len() as u64 + 64 * 1024;
    assert!(used.memory <= allowed, "{} bytes for {}", used.memory, bytes.len());
});
