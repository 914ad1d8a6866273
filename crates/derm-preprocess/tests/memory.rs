//! What a picture's header announces is what decoding allocates: an allocator counts.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "common/counting.rs"]
mod counting;

use counting::HELD;
use derm_preprocess::{Fit, Limits, Picture, Spec};
use std::io::Write;
use std::path::Path;

/// The most that `work` held beside what was held before.
fn peak<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = HELD.with(|held| {
        let (now, _) = held.get();
        held.set((now, now));
        now
    });
    let result = work();
    (result, HELD.with(|held| held.get().1 - before) as u64)
}

/// Larger pictures, made here: name and file.
fn larger() -> Vec<(String, Vec<u8>)> {
    let encode = |picture: &image::DynamicImage, format| {
        let mut file = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut file, format).unwrap();
        file.into_inner()
    };
    let rgba = image::RgbaImage::from_fn(700, 500, |x, y| {
        image::Rgba([(x * y % 251) as u8, x as u8, (x / 8 * y / 8) as u8, (y / 4) as u8])
    });
    let picture = image::DynamicImage::ImageRgba8(rgba);
    use image::ImageFormat::{Gif, Png, Tiff, WebP};
    vec![
        ("RGBA PNG".to_owned(), encode(&picture, Png)),
        ("16-bit PNG".to_owned(), encode(&picture.to_rgba16().into(), Png)),
        ("RGBA WebP".to_owned(), encode(&picture, WebP)),
        ("RGB WebP".to_owned(), encode(&picture.to_rgb8().into(), WebP)),
        ("GIF".to_owned(), encode(&picture.to_rgba8().into(), Gif)),
        ("RGBA TIFF".to_owned(), encode(&picture, Tiff)),
        ("grey TIFF".to_owned(), encode(&picture.to_luma8().into(), Tiff)),
    ]
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn png_chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(kind);
    crc.update(content);
    let length = (content.len() as u32).to_be_bytes();
    [&length[..], kind, content, &crc.sum().to_be_bytes()].concat()
}

/// A PNG of 8x8 pixels and so many frames.
fn animated_png(frames: u32) -> Vec<u8> {
    let pixels = deflate(&[0; 8 * 25]);
    let side = 8u32.to_be_bytes();
    let control = |number: u32| {
        [&number.to_be_bytes()[..], &side, &side, &[0; 8], &[0, 1, 0, 10, 0, 0]].concat()
    };
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    file.extend(png_chunk(b"IHDR", &[&side[..], &side, &[8, 2, 0, 0, 0]].concat()));
    file.extend(png_chunk(b"acTL", &[frames.to_be_bytes(), [0; 4]].concat()));
    file.extend(png_chunk(b"fcTL", &control(0)));
    file.extend(png_chunk(b"IDAT", &pixels));
    for number in (1..2 * frames - 1).step_by(2) {
        file.extend(png_chunk(b"fcTL", &control(number)));
        file.extend(png_chunk(b"fdAT", &[&(number + 1).to_be_bytes()[..], &pixels].concat()));
    }
    file.extend(png_chunk(b"IEND", &[]));
    file
}

/// A WebP of 64x64 pixels and so many frames.
fn animated_webp(frames: usize) -> Vec<u8> {
    let mut still = std::io::Cursor::new(Vec::new());
    let picture = image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([x as u8, y as u8, 0]));
    picture.write_to(&mut still, image::ImageFormat::WebP).unwrap();
    let pixels = &still.get_ref()[12..];
    let chunk = |kind: &[u8; 4], content: &[u8]| {
        [&kind[..], &(content.len() as u32).to_le_bytes(), content].concat()
    };
    let frame =
        chunk(b"ANMF", &[&[0, 0, 0, 0, 0, 0, 63, 0, 0, 63, 0, 0, 40, 0, 0, 0], pixels].concat());
    let mut chunks = b"WEBP".to_vec();
    chunks.extend(chunk(b"VP8X", &[2, 0, 0, 0, 63, 0, 0, 63, 0, 0]));
    chunks.extend(chunk(b"ANIM", &[0; 6]));
    (0..frames).for_each(|_| chunks.extend(&frame));
    chunk(b"RIFF", &chunks)
}

/// A lossy WebP of 8x8 pixels whose compressed data has so many bytes, nearly all of which are not read.
fn padded_webp(length: usize) -> Vec<u8> {
    // A key frame: a first partition of 64 bytes, the start code, the size.
    let mut pixels = ((64u32 << 5) | 0x10).to_le_bytes()[..3].to_vec();
    pixels.extend([0x9d, 0x01, 0x2a, 8, 0, 8, 0]);
    pixels.resize(length, 0);
    let content = [b"WEBPVP8 ", &(length as u32).to_le_bytes()[..], &pixels].concat();
    [b"RIFF", &(content.len() as u32).to_le_bytes()[..], &content].concat()
}

/// A grey TIFF, one pixel wide, of which each row is a strip.
fn tiff_of_rows(rows: u32) -> Vec<u8> {
    // Type 4: 32 bits. Offsets and lengths lie behind the directory, one byte of pixels behind them.
    let lists = 8 + 2 + 12 * 8 + 4;
    let pixel = lists + 8 * rows;
    let tags = [
        (256, 1, 1),
        (257, 1, rows),
        (258, 1, 8),
        (262, 1, 1),
        (273, rows, lists),
        (277, 1, 1),
        (278, 1, 1),
        (279, rows, lists + 4 * rows),
    ];
    let mut file = b"II*\0\x08\0\0\0\x08\0".to_vec();
    for (tag, count, value) in tags {
        file.extend([tag, 4u16].map(u16::to_le_bytes).as_flattened());
        file.extend([count, value].map(u32::to_le_bytes).as_flattened());
    }
    file.extend([0; 4]);
    (0..rows).for_each(|_| file.extend(pixel.to_le_bytes()));
    (0..rows).for_each(|_| file.extend(1u32.to_le_bytes()));
    file.push(128);
    file
}

/// Small files that expand to much, where a decoder does not take care: name and file.
fn bombs() -> Vec<(String, Vec<u8>)> {
    let expanding = deflate(&vec![0; 16 << 20]);
    let header =
        |kind: u8| [&8u32.to_be_bytes()[..], &8u32.to_be_bytes(), &[8, kind, 0, 0, 0]].concat();
    let png = |chunks: &[(&[u8; 4], Vec<u8>)], pixels: &[u8]| {
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        file.extend(png_chunk(b"IHDR", &header(2)));
        chunks.iter().for_each(|(kind, content)| file.extend(png_chunk(kind, content)));
        file.extend(png_chunk(b"IDAT", pixels));
        file.extend(png_chunk(b"IEND", &[]));
        file
    };
    let pixels = deflate(&[0; 8 * 25]);
    let text = [b"Title\0\0", &expanding[..]].concat();
    let international = [b"Title\0\x01\0\0\0", &expanding[..]].concat();
    let frames: Vec<u8> = {
        let mut file = Vec::new();
        let mut encoder = image::codecs::gif::GifEncoder::new(&mut file);
        let frame = || image::Frame::new(image::RgbaImage::new(40, 40));
        encoder.encode_frames((0..50).map(|_| frame())).unwrap();
        drop(encoder);
        file
    };
    vec![
        ("PNG with text".to_owned(), png(&[(b"zTXt", text)], &pixels)),
        (
            "PNG with a profile".to_owned(),
            png(&[(b"iCCP", [b"x\0\0", &expanding[..]].concat())], &pixels),
        ),
        ("PNG with international text".to_owned(), png(&[(b"iTXt", international)], &pixels)),
        ("PNG with too much data".to_owned(), png(&[], &expanding)),
        ("PNG with large EXIF".to_owned(), png(&[(b"eXIf", vec![0; 3 << 20])], &pixels)),
        ("GIF of many frames".to_owned(), frames),
        ("PNG of many frames".to_owned(), animated_png(2000)),
        ("WebP of many frames".to_owned(), animated_webp(2000)),
        ("WebP with too much data".to_owned(), padded_webp(4 << 20)),
        ("TIFF of many strips".to_owned(), tiff_of_rows(20_000)),
    ]
}

/// The pictures in `tests/data`: name and file.
fn stored() -> Vec<(String, Vec<u8>)> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let is_reference = name.contains("-stretch.png") || name.contains("-crop.png");
        if !is_reference && !name.ends_with(".py") && !name.starts_with("fuzz-") {
            files.push((name, std::fs::read(&path).unwrap()));
        }
    }
    assert!(files.len() > 30, "only {} pictures", files.len());
    files
}

#[test]
fn decoding_allocates_no_more_than_was_announced() {
    let spec = Spec { fit: Fit::Stretch, ..Spec::square(224) };
    let mut failures = Vec::new();
    for (name, bytes) in stored().into_iter().chain(larger()).chain(bombs()) {
        let (picture, opened) = peak(|| Picture::open(&bytes, &Limits::default()).unwrap());
        let announced = picture.cost(&spec).unwrap().memory;
        let (_, held) = peak(|| picture.prepare(&spec).unwrap());
        let with_upload = picture.cost_with_upload(&spec).unwrap().memory;
        let (_, held_with_upload) = peak(|| picture.prepare_with_upload(&spec).unwrap());
        if opened > 256 * 1024 || held > announced || held_with_upload > with_upload {
            failures.push(format!(
                "{name}: header {opened}; {held} of {announced}; {held_with_upload} of {with_upload}"
            ));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
