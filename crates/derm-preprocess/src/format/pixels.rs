//! Pixels: a picture that is in memory already, without a file.

use super::alpha::write_row;
use crate::decoder::{Decoder, RowSink};
use crate::error::Error;
use crate::limits::Limits;
use crate::orientation::Orientation;
use crate::strips::Strips;
use crate::warning::Warning;

/// The shape of pixels `[rows, columns, channels]`.
pub(crate) struct Pixels {
    width: u32,
    height: u32,
    channels: usize,
}

impl Pixels {
    /// Of so many samples.
    ///
    /// # Errors
    /// [`Error::Undecodable`]: pixels of that shape are more or fewer samples, or have no or more than four
    /// channels.
    pub(crate) fn new(
        (width, height): (u32, u32),
        channels: usize,
        samples: usize,
    ) -> Result<Pixels, Error> {
        let undecodable = |reason: String| Err(Error::undecodable("array", reason));
        if !(1..=4).contains(&channels) {
            return undecodable(format!("a pixel has 1 to 4 channels, not {channels}"));
        }
        let expected = u64::from(width) * u64::from(height);
        if expected.checked_mul(channels as u64) != Some(samples as u64) {
            return undecodable(format!(
                "{samples} samples are not {width}x{height} pixels of {channels} channels"
            ));
        }
        Ok(Pixels { width, height, channels })
    }
}

impl Decoder for Pixels {
    fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn orientation(&self) -> Orientation {
        Orientation::default()
    }

    fn memory(&self) -> u64 {
        Strips::memory(self.width as usize)
    }

    fn decode(
        &self,
        bytes: &[u8],
        _: &Limits,
        rows: &mut RowSink<'_>,
    ) -> Result<Vec<Warning>, Error> {
        let width = self.width as usize;
        let mut strips = Strips::new(width, rows);
        for line in bytes.chunks_exact(width * self.channels) {
            strips.row(|rgb| write_row(line, self.channels, rgb))?;
        }
        strips.flush()?;
        Ok(Vec::new())
    }
}
