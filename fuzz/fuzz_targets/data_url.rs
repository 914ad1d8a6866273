//! Data URLs and bare base64, decoded in place, against the decoder of the crate `base64`.

#![no_main]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use derm_fuzz::{metered, watch_panics};
use derm_server::fuzz::data_url;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    watch_panics();
    let (ours, used) = metered(|| data_url(bytes));
    let allowed = 2 * bytes.len() as u64 + 16 * 1024;
    assert!(used.memory <= allowed, "{} bytes for {}", used.memory, bytes.len());
    // What was encoded comes back.
    let url = format!("data:image/png;base64,{}", STANDARD.encode(bytes));
    assert_eq!(data_url(url.as_bytes()).as_deref(), Ok(bytes));
    let start = bytes.trim_ascii_start().first_chunk::<5>();
    if start.is_some_and(|start| start.eq_ignore_ascii_case(b"data:")) {
        return;
    }
    let text: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let mode = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let theirs = GeneralPurpose::new(&base64::alphabet::STANDARD, mode).decode(&text);
    assert_eq!(ours.ok(), theirs.ok());
});
