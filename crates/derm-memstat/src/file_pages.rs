//! File pages: unmaps clean pages of the binary and of shared libraries.

#[cfg(any(target_os = "linux", test))]
use std::ops::Range;

/// Unmaps clean pages of the binary and of the shared libraries: code and constants.
///
/// The kernel maps code in chunks of 64 KiB (fault-around) when any byte of them runs, and counts it
/// as resident until memory is short, although most of it does not run again after start-up or after
/// loading a model. Code that does is mapped again from the page cache, at about a microsecond per
/// chunk. A no-op on systems other than Linux.
pub fn release_file_pages() {
    #[cfg(target_os = "linux")]
    if let Ok(smaps) = std::fs::read_to_string("/proc/self/smaps") {
        let mut clean = clean_mappings(&smaps);
        // SAFETY: the callback gets what it expects, and does not panic.
        unsafe {
            libc::dl_iterate_phdr(Some(release_segments), std::ptr::from_mut(&mut clean).cast())
        };
    }
}

/// Unmaps the segments of one object, the binary or a shared library, that lie in clean mappings
/// (`dl_iterate_phdr(3)`). `clean` points to a `Vec<Range<usize>>`.
#[cfg(target_os = "linux")]
unsafe extern "C" fn release_segments(
    object: *mut libc::dl_phdr_info,
    _: libc::size_t,
    clean: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: dl_iterate_phdr passes an object with its program headers, and what it was given itself.
    let (start, headers, clean) = unsafe {
        let object = &*object;
        let count = usize::from(object.dlpi_phnum);
        let headers = std::slice::from_raw_parts(object.dlpi_phdr, count);
        (object.dlpi_addr as usize, headers, &*clean.cast::<Vec<Range<usize>>>())
    };
    // SAFETY: asks for a constant.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    for header in headers {
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        let first = start.wrapping_add(header.p_vaddr as usize);
        let segment = first / page * page..first.saturating_add(header.p_memsz as usize);
        for mapping in clean.iter() {
            let (from, to) = (mapping.start.max(segment.start), mapping.end.min(segment.end));
            if from < to {
                let pointer = std::ptr::without_provenance_mut::<libc::c_void>(from);
                // SAFETY: this is a part of a file that the process cannot write to, and no page of it was
                // changed: the kernel reads what is touched again from the file. It stays mapped, for while
                // the callback runs no library is unloaded (glibc holds a lock; musl never unloads one).
                // Other mappings are left alone: one may be unmapped meanwhile, and this would discard
                // what another thread has put in its place.
                unsafe { libc::madvise(pointer, to - from, libc::MADV_DONTNEED) };
            }
        }
    }
    0
}

/// The addresses of each read-only file mapping without modified pages
/// (`proc_pid_smaps(5)`).
#[cfg(any(target_os = "linux", test))]
fn clean_mappings(smaps: &str) -> Vec<Range<usize>> {
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
fn range(text: &str) -> Option<Range<usize>> {
    let (start, end) = text.split_once('-')?;
    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
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
        assert_eq!(clean_mappings(smaps), std::slice::from_ref(&(0x1000..0x3000)));
    }

    /// Maps and unmaps a file, and anonymous memory in its place, while pages are released.
    #[test]
    fn memory_that_takes_the_place_of_an_unmapped_file_keeps_its_bytes() {
        use std::os::fd::AsRawFd;
        const LENGTH: usize = 1 << 20;
        let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        let stops = std::sync::atomic::AtomicBool::new(false);
        let map = |protection, flags, descriptor| {
            // SAFETY: a new mapping, which is unmapped below and is not used after that.
            let start = unsafe {
                libc::mmap(std::ptr::null_mut(), LENGTH, protection, flags, descriptor, 0)
            };
            assert_ne!(start, libc::MAP_FAILED);
            start.cast::<u8>()
        };
        let unmap = |start: *mut u8| {
            // SAFETY: what `map` returned.
            assert_eq!(unsafe { libc::munmap(start.cast(), LENGTH) }, 0);
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stops.load(std::sync::atomic::Ordering::Relaxed) {
                    release_file_pages();
                }
            });
            for _ in 0..100 {
                let pages = map(libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd());
                std::thread::yield_now();
                unmap(pages);
                let memory = map(
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                );
                // SAFETY: a mapping of that length, ours alone.
                let bytes = unsafe { std::slice::from_raw_parts_mut(memory, LENGTH) };
                bytes.fill(1);
                std::thread::yield_now();
                let lost = bytes.iter().filter(|&&byte| byte != 1).count();
                unmap(memory);
                if lost > 0 {
                    stops.store(true, std::sync::atomic::Ordering::Relaxed);
                }
                assert_eq!(lost, 0, "bytes that were written are gone");
            }
            stops.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
