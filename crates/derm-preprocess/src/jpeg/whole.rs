//! JPEGs that are not baseline: decoded as a whole, at reduced scale where the picture is far
//! larger than the network's input.

use super::header::samples_per_pixel;
use crate::resample::Passes;
use crate::{Error, Limits, Spec};
use image::metadata::Orientation;
use jpeg_decoder::{CodingProcess, Decoder, ImageInfo, PixelFormat};

/// The reduced picture keeps at least this many times the size that it is resized to. Reducing
/// drops DCT coefficients, which is not how Pillow averages: at 6, photographs stay within half a
/// grey level (mean) of the full decode; at 2 and 4 they do not. `tests/pillow.rs` measures it.
const OVERSAMPLING: f64 = 6.0;

pub(crate) fn dimensions(bytes: &[u8]) -> Result<(u32, u32), Error> {
    let info = read_info(&mut Decoder::new(bytes))?;
    Ok((info.width.into(), info.height.into()))
}

/// A JPEG that `jpeg_decoder` decodes.
pub(crate) struct Whole<'a> {
    decoder: Decoder<&'a [u8]>,
    info: ImageInfo,
    /// Samples of all components for each pixel.
    samples: f64,
    /// Width and height that it will be decoded at.
    scaled: (u32, u32),
}

impl<'a> Whole<'a> {
    pub(super) fn open(bytes: &'a [u8], limits: &Limits, spec: &Spec) -> Result<Whole<'a>, Error> {
        let mut decoder = Decoder::new(bytes);
        let info = read_info(&mut decoder)?;
        let full_size = (u32::from(info.width), u32::from(info.height));
        limits.check_pixels(full_size.0, full_size.1)?;
        let (width, height) = reduced_request(full_size, spec);
        let (width, height) = decoder.scale(width, height).map_err(undecodable)?;
        let samples = samples_per_pixel(bytes).unwrap_or(info.pixel_format.pixel_bytes() as f64);
        let whole = Whole { decoder, info, samples, scaled: (width.into(), height.into()) };
        limits.check_memory(whole.memory(spec))?;
        Ok(whole)
    }

    /// Bytes held at once. The orientation is only known after decoding; a turned picture needs
    /// most.
    pub(super) fn memory(&self, spec: &Spec) -> u64 {
        decoding_memory(&self.info, self.samples, self.scaled)
            + Passes::memory(spec, self.scaled, Orientation::Rotate90)
    }

    pub(super) fn resample(mut self, spec: &Spec) -> Result<Passes, Error> {
        let needed = decoding_memory(&self.info, self.samples, self.scaled);
        self.decoder.set_max_decoding_buffer_size(usize::try_from(needed).unwrap_or(usize::MAX));
        let samples = self.decoder.decode().map_err(undecodable)?;
        let orientation = self.decoder.exif_data().and_then(Orientation::from_exif_chunk);
        let mut rgb = to_rgb(samples, self.info.pixel_format);
        if rgb.len() as u64 != 3 * u64::from(self.scaled.0) * u64::from(self.scaled.1) {
            return Err(reason("fewer pixels than the header announces"));
        }
        let full_size = (self.info.width.into(), self.info.height.into());
        let orientation = orientation.unwrap_or(Orientation::NoTransforms);
        let mut passes = Passes::new(spec, self.scaled, full_size, orientation);
        passes.push(&mut rgb);
        Ok(passes)
    }
}

fn read_info(decoder: &mut Decoder<&[u8]>) -> Result<ImageInfo, Error> {
    decoder.read_info().map_err(undecodable)?;
    decoder.info().ok_or_else(|| reason("no frame header"))
}

/// The smallest size that is still [`OVERSAMPLING`] times what `spec` resizes to, either way up
/// (the orientation is applied after decoding).
fn reduced_request((width, height): (u32, u32), spec: &Spec) -> (u16, u16) {
    let upright = spec.resized_size(width, height);
    let turned = spec.resized_size(height, width);
    let scaled = |full: u32, resized: f64, turned: f64| {
        let wanted = (resized.max(turned) * OVERSAMPLING).min(f64::from(full)).ceil();
        wanted.clamp(1.0, f64::from(u16::MAX)) as u16
    };
    (scaled(width, upright.0, turned.1), scaled(height, upright.1, turned.0))
}

/// Bytes held at once: the planes and the interleaved samples at the reduced size, their RGB copy
/// where they are not RGB, and for a progressive file all its coefficients (two bytes each, twice,
/// full size). `samples`: of all components, for each pixel.
fn decoding_memory(info: &ImageInfo, samples: f64, (width, height): (u32, u32)) -> u64 {
    // Whole blocks, two in a row where chroma is halved.
    let area = |width: u32, height: u32| {
        u64::from(width.next_multiple_of(16)) * u64::from(height.next_multiple_of(16))
    };
    let bytes = |per_pixel: f64, area: u64| (per_pixel * area as f64).ceil() as u64;
    let coefficients = match info.coding_process {
        CodingProcess::DctProgressive => {
            // Once as they were read, once on their way to the decoder's threads.
            bytes(4.0 * samples, area(info.width.into(), info.height.into()))
        }
        _ => 0,
    };
    let channels = info.pixel_format.pixel_bytes() as f64;
    let copy = if info.pixel_format == PixelFormat::RGB24 { 0.0 } else { 3.0 };
    coefficients + bytes(samples + channels + copy, area(width, height))
}

fn to_rgb(samples: Vec<u8>, format: PixelFormat) -> Vec<u8> {
    let grey = |value: u8| [value; 3];
    match format {
        PixelFormat::RGB24 => samples,
        PixelFormat::L8 => samples.into_iter().flat_map(grey).collect(),
        PixelFormat::L16 => samples.chunks_exact(2).flat_map(|two| grey(high_byte(two))).collect(),
        PixelFormat::CMYK32 => samples.chunks_exact(4).flat_map(cmyk_to_rgb).collect(),
    }
}

fn high_byte(two: &[u8]) -> u8 {
    (u16::from_ne_bytes([two[0], two[1]]) >> 8) as u8
}

/// Ink to light, as Pillow's `convert("RGB")`: each ink darkens what the black ink left.
fn cmyk_to_rgb(inks: &[u8]) -> [u8; 3] {
    let left = 255 - u32::from(inks[3]);
    let mix = |ink: u8| (left - (left * u32::from(ink) + 127) / 255) as u8;
    [mix(inks[0]), mix(inks[1]), mix(inks[2])]
}

fn undecodable(error: jpeg_decoder::Error) -> Error {
    Error::Undecodable { format: "JPEG", reason: error.to_string() }
}

pub(super) fn reason(text: &str) -> Error {
    Error::Undecodable { format: "JPEG", reason: text.to_owned() }
}
