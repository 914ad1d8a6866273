//! JPEG: decoded at reduced scale where the picture is far larger than the network's input.

use crate::{Error, Limits, Picture, Spec};
use image::RgbImage;
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

pub(crate) fn decode(bytes: &[u8], limits: &Limits, spec: &Spec) -> Result<Picture, Error> {
    let mut decoder = Decoder::new(bytes);
    let info = read_info(&mut decoder)?;
    let full_size = (u32::from(info.width), u32::from(info.height));
    limits.check_pixels(full_size.0, full_size.1)?;

    let (width, height) = reduced_request(full_size, spec);
    let (width, height) = decoder.scale(width, height).map_err(undecodable)?;
    let needed = memory_needed(&info, (width.into(), height.into()));
    limits.check_memory(needed)?;
    decoder.set_max_decoding_buffer_size(usize::try_from(needed).unwrap_or(usize::MAX));

    let samples = decoder.decode().map_err(undecodable)?;
    let orientation = decoder.exif_data().and_then(Orientation::from_exif_chunk);
    let rgb = to_rgb(samples, info.pixel_format);
    let pixels = RgbImage::from_raw(width.into(), height.into(), rgb)
        .ok_or_else(|| reason("fewer pixels than the header announces"))?;
    Ok(Picture::upright(pixels, full_size, orientation.unwrap_or(Orientation::NoTransforms)))
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

/// Bytes held at once: the planes and the interleaved samples at the reduced size, their RGB
/// copy, and for a progressive file all its coefficients (two bytes a sample, full size).
fn memory_needed(info: &ImageInfo, (width, height): (u64, u64)) -> u64 {
    let channels = info.pixel_format.pixel_bytes() as u64;
    let coefficients = match info.coding_process {
        CodingProcess::DctProgressive => {
            2 * channels * u64::from(info.width) * u64::from(info.height)
        }
        _ => 0,
    };
    coefficients + width * height * (2 * channels + 3)
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

fn reason(text: &str) -> Error {
    Error::Undecodable { format: "JPEG", reason: text.to_owned() }
}
