//! GIF and BMP.

#![no_main]

use derm_preprocess::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    derm_fuzz::decode(bytes, &[Format::Gif, Format::Bmp]);
});
