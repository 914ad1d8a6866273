//! What every format's decoder offers.

use crate::error::Error;
use crate::limits::Limits;
use crate::orientation::Orientation;
use crate::warning::Warning;

/// Takes whole rows of the stored picture, from the top: RGB, three bytes a pixel. May change them.
pub(crate) type RowSink<'a> = dyn FnMut(&mut [u8]) -> Result<(), Error> + 'a;

/// The header of one picture.
pub(crate) trait Decoder: Send + Sync {
    /// Width and height as stored, before orientation.
    fn size(&self) -> (u32, u32);

    fn orientation(&self) -> Orientation;

    /// Bytes that [`Decoder::decode`] holds at once, beside the file and what `rows` holds.
    fn memory(&self) -> u64;

    /// Decodes the file whose header this is.
    fn decode(
        &self,
        bytes: &[u8],
        limits: &Limits,
        rows: &mut RowSink<'_>,
    ) -> Result<Vec<Warning>, Error>;
}
