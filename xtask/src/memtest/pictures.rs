//! Test pictures.

use anyhow::Context;
use image::{ImageFormat, RgbImage, imageops::FilterType};

/// A picture as it is uploaded.
pub(crate) struct Picture {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) bytes: Vec<u8>,
}

/// A drawn 800x600 JPEG.
pub(crate) const EXAMPLE: &[u8] = include_bytes!("../../../bins/derm-server/src/page/example.jpg");

/// The drawn example at this size, with noise like a camera's.
pub(crate) fn photograph(width: u32, height: u32) -> anyhow::Result<RgbImage> {
    let spec = derm_preprocess::Spec {
        width: 800,
        height: 600,
        fit: derm_preprocess::Fit::Stretch,
        ..derm_preprocess::Spec::square(800)
    };
    let limits = derm_preprocess::Limits::default();
    let example = derm_preprocess::Picture::open(EXAMPLE, &limits)?.prepare(&spec)?.view;
    let mut large = image::imageops::resize(&example, width, height, FilterType::Triangle);
    let mut state = 1u32;
    for value in large.iter_mut() {
        // Xorshift (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        *value = value.saturating_add_signed((state % 7) as i8 - 3);
    }
    Ok(large)
}

/// A baseline JPEG of twelve megapixels with 4:2:0 chroma subsampling, as cameras write them.
pub(crate) fn twelve_megapixels() -> anyhow::Result<Vec<u8>> {
    let (width, height) = (4000, 3000);
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 80);
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2);
    encoder.encode(
        &photograph(width.into(), height.into())?,
        width,
        height,
        jpeg_encoder::ColorType::Rgb,
    )?;
    Ok(bytes)
}

/// One picture per format and size of the load test.
pub(crate) fn mixed() -> anyhow::Result<Vec<Picture>> {
    let encoded = |width, height, format| -> anyhow::Result<Vec<u8>> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        photograph(width, height)?.write_to(&mut bytes, format).context("in memory")?;
        Ok(bytes.into_inner())
    };
    let mut progressive = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut progressive, 85);
    encoder.set_progressive(true);
    encoder.encode(&photograph(800, 600)?, 800, 600, jpeg_encoder::ColorType::Rgb)?;
    let picture = |name, kind, bytes| Picture { name, kind, bytes };
    Ok(vec![
        picture("800x600 JPEG", "image/jpeg", EXAMPLE.to_vec()),
        picture("640x480 PNG", "image/png", encoded(640, 480, ImageFormat::Png)?),
        picture("224x224 BMP", "image/bmp", encoded(224, 224, ImageFormat::Bmp)?),
        picture("800x600 progressive JPEG", "image/jpeg", progressive),
        picture("4000x3000 JPEG", "image/jpeg", twelve_megapixels()?),
    ])
}

/// A BMP of one pixel.
pub(crate) fn tiny() -> anyhow::Result<Vec<u8>> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    RgbImage::new(1, 1).write_to(&mut bytes, ImageFormat::Bmp)?;
    Ok(bytes.into_inner())
}
