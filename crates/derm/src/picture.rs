//! A picture's bytes, with the questions that are asked of them.

use derm_preprocess::{Error, Limits, Prepared, RgbImage, Spec};
use std::borrow::Cow;

/// A picture to classify: a file's bytes, borrowed or owned, and the limits that it must keep. Nothing
/// is decoded yet. Made by [`Classifier::open`](crate::Classifier::open).
#[derive(Debug, Clone)]
pub struct Picture<'a> {
    bytes: Cow<'a, [u8]>,
    limits: Limits,
}

impl<'a> Picture<'a> {
    pub(crate) fn open(
        bytes: impl Into<Cow<'a, [u8]>>,
        limits: &Limits,
    ) -> Result<Picture<'a>, Error> {
        let bytes = bytes.into();
        match bytes.len() {
            0 => Err(Error::Empty),
            length if length > limits.max_bytes => {
                Err(Error::TooManyBytes { bytes: length, limit: limits.max_bytes })
            }
            _ => Ok(Picture { bytes, limits: *limits }),
        }
    }

    /// The file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Width and height, as the header has them.
    pub(crate) fn size(&self) -> Result<(u32, u32), Error> {
        derm_preprocess::dimensions(&self.bytes)
    }

    /// Bytes that [`Picture::prepare`] holds at once, beside the file's own.
    pub(crate) fn memory(&self, spec: &Spec) -> Result<u64, Error> {
        spec.memory_needed(&self.bytes, &self.limits)
    }

    /// Bytes that [`Picture::whole`] holds at once, beside the file's own.
    pub(crate) fn whole_memory(&self, spec: &Spec) -> Result<u64, Error> {
        spec.whole(self.size()?).memory_needed(&self.bytes, &self.limits)
    }

    /// The network's view of the picture.
    pub(crate) fn prepare(&self, spec: &Spec) -> Result<Prepared, Error> {
        spec.prepare(&self.bytes, &self.limits)
    }

    /// All of the picture, of which `size` is the upright size.
    pub(crate) fn whole(&self, spec: &Spec, size: (u32, u32)) -> Result<RgbImage, Error> {
        Ok(spec.whole(size).prepare(&self.bytes, &self.limits)?.view)
    }
}
