//! Digest of a model: tells one model from another.

use crate::file::ModelFile;
use derm_engine::Bytes;
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// SHA-256 of a model's files; shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Makes a [`Digest`] of parts, one after the other.
#[derive(Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Adds mapped bytes, and lets their pages go one chunk after the other.
    pub(crate) fn add_mapped(&mut self, file: &ModelFile) {
        let length = file.bytes().len();
        for start in (0..length).step_by(CHUNK) {
            let range = start..length.min(start + CHUNK);
            self.add(&file.bytes()[range.clone()]);
            file.release(range);
        }
    }

    /// Adds a file from its beginning. Reading it, unlike mapping it, survives that it is cut short
    /// meanwhile.
    pub(crate) fn add_file(&mut self, mut file: &File) -> io::Result<()> {
        file.rewind()?;
        let mut chunk = vec![0; CHUNK];
        loop {
            match file.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(count) => self.add(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}
