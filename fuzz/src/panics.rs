//! Panics: those of our own code end the run, even where they are caught.

use std::panic::set_hook;
use std::sync::Once;

/// Sources whose panics are caught by us and become errors: what they decode is not ours to repair. tract keeps its lists
/// of axes in smallvec.
const FOREIGN: [&str; 3] = ["/image-webp-", "/smallvec-", "/tract-"];

/// Makes every panic end the process, but for those of the crates whose panics are expected.
pub fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        set_hook(Box::new(|panic| {
            let file = panic.location().map_or("", |location| location.file());
            if FOREIGN.iter().any(|name| file.contains(name)) {
                return;
            }
            eprintln!("{panic}");
            // SAFETY: it ends the process.
            unsafe { libc::abort() };
        }));
    });
}
