//! Allocator tuning: makes glibc's malloc return memory to the system. No-ops on other allocators.

/// Configures glibc's malloc so that freed memory returns to the system. Call once at start, before
/// other threads exist.
///
/// Mapping threshold: a block of at least 64 KiB that fits no hole of the heap gets its own mapping, which
/// `free` unmaps at once (by default the threshold grows to 32 MiB as blocks are freed, and a model's weights
/// end up scattered over the heap). All threads share two heaps instead of eight per core.
pub fn tune_allocator() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only stores two numbers; the caller runs before other threads exist.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 * 1024);
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// Returns the heap's free pages to the system now (`malloc_trim`).
pub fn release_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim is thread-safe and touches only free memory.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The largest block that glibc's malloc keeps in the cache of a thread, in bytes.
///
/// Cached blocks (glibc's tcache; by default up to 1,032 bytes, seven of each size) do not unite with their
/// free neighbours. While a model is loaded and dropped they scatter what stays over more and more pages.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGEST_CACHED: usize = 64;

/// Starts the program again, once, with a smaller cache of free blocks for each thread; returns where it
/// already has that, or cannot be started. Call it before other threads exist.
///
/// glibc reads this setting from the environment variable `GLIBC_TUNABLES`, when a program starts, and from
/// nowhere else ("Tunables", The GNU C Library Reference Manual). Process number, open files and
/// arguments stay. Where the variable is set already, nothing is done: glibc before 2.38 cuts its value off
/// after the first setting, so that it cannot be added to.
pub fn restart_with_small_cache() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::os::unix::process::CommandExt;
        const TUNABLES: &str = "GLIBC_TUNABLES";
        // A program with privileges of its own finds the tunables removed; this says that it was restarted.
        const RESTARTED: &str = "DERM_MALLOC_TUNED";
        if [TUNABLES, RESTARTED].iter().any(|name| std::env::var_os(name).is_some()) {
            return;
        }
        let Ok(program) = std::env::current_exe() else { return };
        let mut arguments = std::env::args_os();
        let mut restarted = std::process::Command::new(program);
        restarted.env(TUNABLES, format!("glibc.malloc.tcache_max={LARGEST_CACHED}"));
        restarted.env(RESTARTED, "1");
        if let Some(name) = arguments.next() {
            restarted.arg0(name);
        }
        // Returns only if it fails: then the program goes on, with more memory.
        let _ = restarted.args(arguments).exec();
    }
}
