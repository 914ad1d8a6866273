//! Strips of rows on their way to the resampler, which wants many rows at once.

use crate::decoder::RowSink;
use crate::error::Error;
use crate::warning::Warning;

/// Bytes of a strip.
const BYTES: usize = 384 * 1024;

/// Collects RGB rows and passes them on.
pub(crate) struct Strips<'s, 'r> {
    rows: &'s mut RowSink<'r>,
    row_bytes: usize,
    capacity: usize,
    strip: Vec<u8>,
    /// Rows so far.
    count: usize,
}

impl<'s, 'r> Strips<'s, 'r> {
    pub(crate) fn new(width: usize, rows: &'s mut RowSink<'r>) -> Strips<'s, 'r> {
        let capacity = Strips::memory(width) as usize;
        let strip = Vec::with_capacity(capacity);
        Strips { rows, row_bytes: 3 * width, capacity, strip, count: 0 }
    }

    /// Bytes of a strip of rows of `width` pixels.
    pub(crate) fn memory(width: usize) -> u64 {
        let row_bytes = 3 * width;
        ((BYTES / row_bytes).clamp(1, 128) * row_bytes) as u64
    }

    /// Appends a row, which `write` fills; it is white before.
    pub(crate) fn row(&mut self, write: impl FnOnce(&mut [[u8; 3]])) -> Result<(), Error> {
        let start = self.strip.len();
        self.strip.resize(start + self.row_bytes, 255);
        write(self.strip[start..].as_chunks_mut::<3>().0);
        self.count += 1;
        if self.strip.len() == self.capacity { self.flush() } else { Ok(()) }
    }

    /// Passes on the last strip.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        if !self.strip.is_empty() {
            (self.rows)(&mut self.strip)?;
            self.strip.clear();
        }
        Ok(())
    }

    /// Appends white rows up to `height` and passes on the last strip. An error where most rows are
    /// missing.
    pub(crate) fn finish(
        mut self,
        format: &'static str,
        height: usize,
    ) -> Result<Vec<Warning>, Error> {
        let missing = height - self.count;
        let warnings = incomplete(format, missing, height)?;
        for _ in 0..missing {
            self.row(|_| {})?;
        }
        self.flush()?;
        Ok(warnings)
    }
}

/// The warning for a picture of which `missing` of `all` parts are missing. An error where that is
/// most of it.
pub(crate) fn incomplete(
    format: &'static str,
    missing: usize,
    all: usize,
) -> Result<Vec<Warning>, Error> {
    if 2 * missing > all {
        let reason = "it is damaged or was cut short: most of it is missing";
        return Err(Error::undecodable(format, reason));
    }
    let percent = (100 * missing).div_ceil(all) as u8;
    Ok(if missing > 0 { vec![Warning::Incomplete { percent }] } else { Vec::new() })
}
