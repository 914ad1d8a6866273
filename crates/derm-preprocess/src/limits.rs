use crate::error::Error;
use std::time::Instant;

/// What a picture may cost. Each limit is checked as soon as the file's length or header tells,
/// before memory is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Length of the file.
    pub max_bytes: usize,
    /// Width times height, as the header announces them.
    pub max_pixels: u64,
    /// Bytes that decoding may hold at once, beside the file's own.
    pub max_memory: u64,
    /// When decoding is given up with [`Error::TimedOut`]; checked every few rows. A WebP, an
    /// interlaced PNG and the decompression of a TIFF's strip or tile (Deflate, LZW, PackBits) are not
    /// interrupted.
    pub deadline: Option<Instant>,
}

impl Default for Limits {
    /// 5 MiB, 25 megapixels, 128 MiB, no deadline.
    fn default() -> Self {
        Limits { max_bytes: 5 << 20, max_pixels: 25_000_000, max_memory: 128 << 20, deadline: None }
    }
}

impl Limits {
    pub(crate) fn check_bytes(&self, bytes: usize) -> Result<(), Error> {
        match bytes {
            0 => Err(Error::Empty),
            _ if bytes > self.max_bytes => {
                Err(Error::TooManyBytes { bytes, limit: self.max_bytes })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn check_pixels(&self, width: u32, height: u32) -> Result<(), Error> {
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(Error::TooManyPixels { width, height, limit: self.max_pixels });
        }
        Ok(())
    }

    pub(crate) fn check_memory(&self, needed: u64) -> Result<(), Error> {
        if needed > self.max_memory {
            return Err(Error::TooMuchMemory { needed, limit: self.max_memory });
        }
        Ok(())
    }

    pub(crate) fn check_time(&self) -> Result<(), Error> {
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(Error::TimedOut),
            _ => Ok(()),
        }
    }
}
