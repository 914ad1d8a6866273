//! The bytes of an ONNX file, memory-mapped or embedded in the binary.

use crate::Error;
use derm_engine::Bytes;
use std::fs::{File, FileType};
use std::io::Read;
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
        ModelFile::map(&open_model(path)?, path)
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

/// Why a file holds no model, as its kind, size and first bytes show.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileFault {
    /// It is missing, or may not be read.
    #[error("{0}")]
    Unreadable(std::io::Error),
    /// A FIFO, socket, device or folder.
    #[error("it is {0}, not a regular file")]
    NotRegular(&'static str),
    /// It has no bytes.
    #[error("it is empty: was it copied completely?")]
    Empty,
    /// A pointer of Git LFS stands in for the file.
    #[error("it is a Git LFS pointer, not the file itself: run `git lfs pull`")]
    GitLfsPointer,
    /// Another format.
    #[error("it is {0}, not an ONNX file")]
    OtherFormat(&'static str),
}

/// First bytes of files that are mistaken for models.
const OTHER_FORMATS: [(&[u8], &str); 8] = [
    (b"<!DOCTYPE", "an HTML page (of a download that failed?)"),
    (b"<!doctype", "an HTML page (of a download that failed?)"),
    (b"<html", "an HTML page (of a download that failed?)"),
    (b"PK\x03\x04", "a ZIP archive (a PyTorch or Keras model? export it to ONNX)"),
    (b"\x89HDF", "an HDF5 file (a Keras model? export it to ONNX)"),
    (b"\x80\x02", "a Python pickle (a PyTorch model? export it to ONNX)"),
    (b"\x1f\x8b", "compressed by gzip"),
    (b"\x1c\0\0\0TFL3", "a TensorFlow Lite model"),
];

impl FileFault {
    /// The error of loading the file at this path.
    pub(crate) fn at(self, path: &Path) -> Error {
        let path = path.to_owned();
        match self {
            FileFault::Unreadable(source) => Error::Read { path, source },
            fault => Error::File { path, fault },
        }
    }
}

/// Opens a file of weights, after a look at its kind, size and first bytes.
///
/// # Errors
/// What is wrong with it. Nothing is read from what is no regular file, so that a FIFO does not block.
pub(crate) fn open_file(path: &Path) -> Result<File, FileFault> {
    Ok(open_checked(path)?.0)
}

/// Opens the file of a graph: as [`open_file`], and its first bytes are of no other format.
///
/// # Errors
/// [`Error::Read`], [`Error::File`].
pub(crate) fn open_model(path: &Path) -> Result<File, Error> {
    let (file, first) = open_checked(path).map_err(|fault| fault.at(path))?;
    match OTHER_FORMATS.iter().find(|(known, _)| first.starts_with(known)) {
        None => Ok(file),
        Some((_, name)) => Err(FileFault::OtherFormat(name).at(path)),
    }
}

/// The file, and its first bytes.
fn open_checked(path: &Path) -> Result<(File, Vec<u8>), FileFault> {
    let metadata = std::fs::metadata(path).map_err(FileFault::Unreadable)?;
    if let Some(kind) = irregular(metadata.file_type()) {
        return Err(FileFault::NotRegular(kind));
    }
    let file = File::open(path).map_err(FileFault::Unreadable)?;
    let mut first = Vec::new();
    (&file).take(64).read_to_end(&mut first).map_err(FileFault::Unreadable)?;
    if first.is_empty() {
        return Err(FileFault::Empty);
    }
    if first.starts_with(b"version https://git-lfs") {
        return Err(FileFault::GitLfsPointer);
    }
    Ok((file, first))
}

/// What it is, if it is no regular file.
fn irregular(kind: FileType) -> Option<&'static str> {
    if kind.is_file() {
        return None;
    }
    if kind.is_dir() {
        return Some("a folder");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return Some("a FIFO");
        }
        if kind.is_socket() {
            return Some("a socket");
        }
    }
    Some("a device")
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
