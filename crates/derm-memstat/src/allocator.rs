//! Allocator tuning: makes glibc's malloc return memory to the system. No-ops on other allocators.

/// Configures glibc's malloc so that freed memory returns to the system. Call once at start, before
/// other threads exist.
///
/// Blocks of at least 64 KiB get their own mapping, which `free` unmaps at once (by default the
/// threshold grows to 32 MiB as blocks are freed, and a model's weights end up scattered over the
/// heap). All threads share two heaps instead of eight per core.
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
