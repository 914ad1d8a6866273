//! A picture, from its bytes to the network's view.

use crate::decoder::Decoder;
use crate::error::Error;
use crate::format::{self, Format, Pixels};
use crate::limits::Limits;
use crate::prepared::Prepared;
use crate::resample::Resampler;
use crate::spec::Spec;
use crate::upright::Upright;
use crate::warning::Warning;
use image::RgbImage;
use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// A picture whose header was read and found within the limits; nothing is decoded yet.
///
/// It borrows or owns its bytes: a `Picture<'static>` can move to another thread.
pub struct Picture<'a> {
    bytes: Cow<'a, [u8]>,
    limits: Limits,
    format: Format,
    decoder: Box<dyn Decoder>,
}

/// What preparing a picture takes, as its header tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cost {
    /// Width times height.
    pub pixels: u64,
    /// Bytes that are held at once, beside the file's own.
    pub memory: u64,
}

impl<'a> Picture<'a> {
    /// Reads a picture's header.
    ///
    /// # Errors
    /// Every [`Error`] but [`Error::TooMuchMemory`]; what damage only decoding finds is not found.
    pub fn open(bytes: impl Into<Cow<'a, [u8]>>, limits: &Limits) -> Result<Picture<'a>, Error> {
        let bytes = bytes.into();
        limits.check_bytes(bytes.len())?;
        let format = Format::guess(&bytes)?;
        let decoder = guarded(format, || format::read_header(format, &bytes))?;
        Picture::within(limits, bytes, format, decoder)
    }

    /// A picture whose pixels are in memory: `samples` is `[rows, columns, channels]`, of grey, grey and
    /// alpha, RGB or RGBA (1 to 4 channels), upright. What is transparent is blended over white.
    /// [`Limits::max_bytes`], which is of files, does not apply.
    ///
    /// # Errors
    /// [`Error::TooManyPixels`]; [`Error::Undecodable`]: there are no pixels, or `samples` has another
    /// length.
    pub fn of_pixels(
        (width, height): (u32, u32),
        channels: usize,
        samples: impl Into<Cow<'a, [u8]>>,
        limits: &Limits,
    ) -> Result<Picture<'a>, Error> {
        let samples = samples.into();
        let pixels = Pixels::new((width, height), channels, samples.len())?;
        Picture::within(limits, samples, Format::Pixels, Box::new(pixels))
    }

    /// # Errors
    /// [`Error::Undecodable`]: it has no pixels; [`Error::TooManyPixels`].
    fn within(
        limits: &Limits,
        bytes: Cow<'a, [u8]>,
        format: Format,
        decoder: Box<dyn Decoder>,
    ) -> Result<Picture<'a>, Error> {
        let (width, height) = decoder.size();
        if width == 0 || height == 0 {
            return Err(Error::undecodable(format.name(), "it has no pixels"));
        }
        limits.check_pixels(width, height)?;
        Ok(Picture { bytes, limits: *limits, format, decoder })
    }

    /// The same picture, of which decoding is given up at `deadline` with [`Error::TimedOut`].
    #[must_use]
    pub fn until(mut self, deadline: Instant) -> Picture<'a> {
        self.limits.deadline = Some(deadline);
        self
    }

    /// The file's format, or [`Format::Pixels`].
    pub fn format(&self) -> Format {
        self.format
    }

    /// Width and height, upright.
    pub fn size(&self) -> (u32, u32) {
        self.decoder.orientation().size(self.decoder.size())
    }

    /// The file; the samples of [`Picture::of_pixels`].
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What [`Picture::prepare`] takes. Nothing is decoded.
    ///
    /// # Errors
    /// [`Error::TooMuchMemory`].
    pub fn cost(&self, spec: &Spec) -> Result<Cost, Error> {
        self.checked_cost(spec, 0)
    }

    /// What [`Picture::prepare_with_upload`] takes, the whole picture included. Nothing is decoded.
    ///
    /// # Errors
    /// [`Error::TooMuchMemory`].
    pub fn cost_with_upload(&self, spec: &Spec) -> Result<Cost, Error> {
        self.checked_cost(spec, Upright::memory(self.decoder.size()))
    }

    /// Decodes the picture, orients it, resizes and crops it.
    ///
    /// # Errors
    /// [`Error::TooMuchMemory`], before memory is taken; [`Error::Undecodable`],
    /// [`Error::Unsupported`], [`Error::DecoderPanicked`] and [`Error::TimedOut`].
    pub fn prepare(&self, spec: &Spec) -> Result<Prepared, Error> {
        self.cost(spec)?;
        self.resample(spec, None)
    }

    /// As [`Picture::prepare`]; gives the whole picture, too, upright, from the same decoding.
    ///
    /// # Errors
    /// Those of [`Picture::prepare`].
    pub fn prepare_with_upload(&self, spec: &Spec) -> Result<(Prepared, RgbImage), Error> {
        self.cost_with_upload(spec)?;
        let mut upload = Upright::new(self.decoder.size(), self.decoder.orientation());
        let prepared = self.resample(spec, Some(&mut upload))?;
        Ok((prepared, upload.finish()))
    }

    /// Decodes the whole picture, upright.
    ///
    /// # Errors
    /// Those of [`Picture::prepare`].
    pub fn upright(&self) -> Result<RgbImage, Error> {
        let (size, orientation) = (self.decoder.size(), self.decoder.orientation());
        let memory = self.decoder.memory().saturating_add(Upright::memory(size));
        self.limits.check_memory(memory)?;
        let mut upright = Upright::new(size, orientation);
        self.decode(|rows| upright.push(rows))?;
        Ok(upright.finish())
    }

    fn checked_cost(&self, spec: &Spec, upload: u64) -> Result<Cost, Error> {
        let (width, height) = self.decoder.size();
        let resampler = Resampler::memory(spec, (width, height), self.decoder.orientation());
        let memory = self.decoder.memory().saturating_add(resampler).saturating_add(upload);
        self.limits.check_memory(memory)?;
        Ok(Cost { pixels: u64::from(width) * u64::from(height), memory })
    }

    fn resample(&self, spec: &Spec, mut upload: Option<&mut Upright>) -> Result<Prepared, Error> {
        let (size, orientation) = (self.decoder.size(), self.decoder.orientation());
        let mut resampler = Resampler::new(spec, size, orientation);
        let warnings = self.decode(|rows| {
            if let Some(upload) = &mut upload {
                upload.push(rows);
            }
            resampler.push(rows);
        })?;
        Ok(resampler.finish(warnings))
    }

    /// Decodes the picture, in time; `take` gets its stored rows, from the top.
    fn decode(&self, mut take: impl FnMut(&mut [u8])) -> Result<Vec<Warning>, Error> {
        guarded(self.format, || {
            self.decoder.decode(&self.bytes, &self.limits, &mut |rows| {
                self.limits.check_time()?;
                take(rows);
                Ok(())
            })
        })
    }
}

impl fmt::Debug for Picture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Picture");
        debug.field("format", &self.format).field("size", &self.size());
        debug.field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// Runs a decoder: a panic in it becomes an error. All that it had begun is dropped.
fn guarded<T>(format: Format, run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    // The closures' state is not used after a panic.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        Err(Error::DecoderPanicked { format: format.name(), message: panic_message(&*panic) })
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        for message in ["fixed", &format!("formatted {}", 7)] {
            let error = guarded::<()>(Format::Gif, || panic!("{message}")).unwrap_err();
            assert!(matches!(&error, Error::DecoderPanicked { format: "GIF", message: found }
                if found == message));
        }
    }
}
