//! Bodies of inferences: JSON, and binary tensors after it.

#![no_main]

use derm_fuzz::{metered, watch_panics};
use derm_server::fuzz::infer_request;
use libfuzzer_sys::fuzz_target;

// The first two bytes say how long the JSON is; 65535: as long as the body.
fuzz_target!(|bytes: &[u8]| {
    watch_panics();
    let Some((length, body)) = bytes.split_first_chunk::<2>() else { return };
    let length = u16::from_le_bytes(*length);
    let header = (length != u16::MAX).then_some(usize::from(length));
    let (_, used) = metered(|| infer_request(body, header));
    // A copy of the body, its lists, and one tensor.
    let allowed = 16 * bytes.len() as u64 + 64 * 1024;
    assert!(used.memory <= allowed, "{} bytes for {}", used.memory, bytes.len());
});
