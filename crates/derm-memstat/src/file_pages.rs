//! File pages: unmaps clean pages of the binary and of shared libraries.

/// Unmaps the process's clean file-backed pages: code and constants of the binary and its libraries.
///
/// The kernel maps code in chunks of 64 KiB (fault-around) when any byte of them runs, and counts it
/// as resident until memory is short, although most of it does not run again after start-up or after
/// loading a model. Code that does is mapped again from the page cache, at about a microsecond per
/// chunk. A no-op on systems other than Linux.
pub fn release_file_pages() {
    #[cfg(target_os = "linux")]
    if let Ok(smaps) = std::fs::read_to_string("/proc/self/smaps") {
        for (start, length) in clean_mappings(&smaps) {
            let pointer = std::ptr::without_provenance_mut::<libc::c_void>(start);
            // SAFETY: these mappings are of files, cannot be written to, and none of their pages
            // was ever changed: the kernel reads what is touched again from the file.
            unsafe { libc::madvise(pointer, length, libc::MADV_DONTNEED) };
        }
    }
}

/// Start and length of each read-only file mapping without modified pages
/// (`proc_pid_smaps(5)`).
#[cfg(any(target_os = "linux", test))]
fn clean_mappings(smaps: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        let mut fields = line.split_whitespace();
        let Some(first) = fields.next() else { continue };
        if !first.ends_with(':') {
            let fixed = fields
                .next()
                .is_some_and(|rights| rights.starts_with('r') && !rights.contains('w'));
            let file = fields.nth(3).is_some_and(|path| path.starts_with('/'));
            candidate = range(first).filter(|_| fixed && file);
        } else if first == "Anonymous:"
            && let Some(mapping) = candidate.take()
            && fields.next() == Some("0")
        {
            found.push(mapping);
        }
    }
    found
}

#[cfg(any(target_os = "linux", test))]
fn range(text: &str) -> Option<(usize, usize)> {
    let (start, end) = text.split_once('-')?;
    let (start, end) =
        (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    Some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clean_file_mappings_are_found() {
        let smaps = "1000-3000 r-xp 00000000 fd:00 77 /bin/one\nRss: 8 kB\nAnonymous:       0 kB\n\
                     4000-5000 r--p 00000000 fd:00 77 /bin/one\nRss: 4 kB\nAnonymous:       4 kB\n\
                     6000-7000 rw-p 00000000 fd:00 77 /bin/one\nAnonymous:       0 kB\n\
                     8000-9000 r--p 00000000 00:00 0 \nAnonymous:       0 kB\n\
                     a000-b000 r-xp 00000000 00:00 0 [vdso]\nAnonymous:       0 kB\n";
        assert_eq!(clean_mappings(smaps), [(0x1000, 0x2000)]);
    }

    #[test]
    fn the_process_goes_on() {
        release_file_pages();
        assert_eq!(range("10-1f"), Some((16, 15)));
    }
}
