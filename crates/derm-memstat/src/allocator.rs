//! Making glibc's allocator return memory. On other allocators both functions do nothing.

/// Sets glibc's allocator so that freed memory goes back to the system; call once, at start,
/// before other threads exist.
///
/// Blocks of 64 KiB and more get their own mapping, which `free` unmaps at once (by default the
/// threshold grows to 32 MiB as blocks are freed, and a model's weights end up scattered over the
/// heap), and all threads share two heaps instead of eight per core.
pub fn tune_allocator() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only stores two numbers; the caller runs before other threads exist.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 * 1024);
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// Gives the heap's free pages back to the system now.
pub fn release_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim is thread-safe and touches only free memory.
    unsafe {
        libc::malloc_trim(0);
    }
}
