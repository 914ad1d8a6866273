//! The bytes of an ONNX file, memory-mapped or embedded in the binary.

use crate::Error;
use derm_engine::Bytes;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

/// A mapped file, or bytes of the binary.
pub(crate) enum ModelFile {
    Mapped(memmap2::Mmap),
    Embedded(&'static [u8]),
}

impl ModelFile {
    /// Opens and maps a file.
    pub(crate) fn open(path: &Path) -> Result<ModelFile, Error> {
        let unreadable = |source| Error::Read { path: path.to_owned(), source };
        ModelFile::map(&File::open(path).map_err(unreadable)?, path)
    }

    /// Maps an open file; `path` is for the message of an error.
    pub(crate) fn map(file: &File, path: &Path) -> Result<ModelFile, Error> {
        let unreadable = |source| Error::Read { path: path.to_owned(), source };
        // SAFETY: whoever overwrites a model's file while it is being loaded gets a model that is
        // refused, by its digest or as malformed; numbers of any value are valid, and lengths are
        // checked once. Cutting the file short in that moment would end the process, as with any
        // mapped file.
        let mapped = unsafe { memmap2::Mmap::map(file) }.map_err(unreadable)?;
        Ok(ModelFile::Mapped(mapped))
    }
}

impl Bytes for ModelFile {
    fn bytes(&self) -> &[u8] {
        match self {
            ModelFile::Mapped(mapped) => mapped,
            ModelFile::Embedded(bytes) => bytes,
        }
    }

    fn release(&self, range: Range<usize>) {
        #[cfg(target_os = "linux")]
        {
            const PAGE: usize = 4096;
            // Fault-around: the kernel maps up to so many bytes around a page that is read.
            const AROUND: usize = 64 * 1024;
            let bytes = self.bytes();
            let start = bytes.as_ptr().addr();
            let first = (start + range.start) / AROUND * AROUND;
            let first = first.max(start.next_multiple_of(PAGE));
            let end = (start + range.end).next_multiple_of(AROUND);
            let end = end.min((start + bytes.len()) / PAGE * PAGE);
            if first < end {
                let pointer = bytes.as_ptr().wrapping_add(first - start).cast_mut().cast();
                // SAFETY: these are whole pages of these bytes, a read-only mapping of a file: the
                // kernel reads them again from the file at the next access.
                unsafe { libc::madvise(pointer, end - first, libc::MADV_DONTNEED) };
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = range;
    }
}
