//! PNG, GIF, BMP and WebP: orientation, transparency, frames, damage.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{bytes, decoded, refused};
use derm_preprocess::{Error, Warning};

/// Index and length of a PNG's first chunk of this type.
fn chunk(file: &[u8], kind: &[u8; 4]) -> (usize, usize) {
    let at = file.windows(4).position(|four| four == kind).unwrap() - 4;
    let length = u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    (at, 12 + length)
}

/// EXIF data with this orientation, as LONG.
fn exif(orientation: u8) -> Vec<u8> {
    let mut exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x04\0\0\0\x01\0\0\0".to_vec();
    exif.push(orientation);
    exif
}

fn png_chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(kind);
    crc.update(content);
    let length = (content.len() as u32).to_be_bytes();
    [&length[..], kind, content, &crc.sum().to_be_bytes()].concat()
}

#[test]
fn exif_in_png_and_webp_orients() {
    let png = bytes("rgb.png");
    let (upright, _) = decoded(&png).unwrap();
    let turned = image::imageops::rotate90(&upright);
    for before in [b"IDAT", b"IEND"] {
        let (at, _) = chunk(&png, before);
        let file = [&png[..at], &png_chunk(b"eXIf", &exif(6)), &png[at..]].concat();
        assert_eq!(decoded(&file).unwrap().0, turned);
    }
    let webp = bytes("lossless.webp");
    let (upright, _) = decoded(&webp).unwrap();
    let (width, height) = upright.dimensions();
    // The extended format: a header, the picture's chunk, EXIF.
    let mut header = b"VP8X\x0a\0\0\0\x08\0\0\0".to_vec();
    header.extend(&(width - 1).to_le_bytes()[..3]);
    header.extend(&(height - 1).to_le_bytes()[..3]);
    for prefix in [&b""[..], b"Exif\0\0"] {
        let content = [prefix, &exif(6)].concat();
        let length = (content.len() as u32).to_le_bytes();
        let chunks = [&header[..], &webp[12..], b"EXIF", &length, &content].concat();
        let size = (chunks.len() as u32 + 4).to_le_bytes();
        let file = [b"RIFF", &size[..], b"WEBP", &chunks].concat();
        assert_eq!(decoded(&file).unwrap().0, image::imageops::rotate90(&upright));
    }
}

#[test]
fn png_without_its_end_or_with_wrong_checksums() {
    let png = bytes("rgb.png");
    let (expected, _) = decoded(&png).unwrap();
    let (end, _) = chunk(&png, b"IEND");
    let (found, prepared) = decoded(&png[..end]).unwrap();
    assert_eq!((found, prepared.warnings), (expected.clone(), vec![]));
    // An ancillary chunk.
    let (data, length) = chunk(&png, b"IDAT");
    let mut text = png_chunk(b"tEXt", b"Title\0a picture");
    *text.last_mut().unwrap() ^= 1;
    let file = [&png[..data], &text, &png[data..]].concat();
    let (found, prepared) = decoded(&file).unwrap();
    assert_eq!((found, prepared.warnings), (expected.clone(), vec![]));
    // Pixel data.
    let mut file = png.clone();
    file[data + length - 1] ^= 1;
    let (found, prepared) = decoded(&file).unwrap();
    assert_eq!((found, prepared.warnings), (expected.clone(), vec![Warning::Damaged]));
    // The header.
    let (header, length) = chunk(&png, b"IHDR");
    let mut file = png.clone();
    file[header + length - 1] ^= 1;
    let (found, prepared) = decoded(&file).unwrap();
    assert_eq!((found, prepared.warnings), (expected.clone(), vec![Warning::Damaged]));
    // Cut short.
    let (found, prepared) = decoded(&png[..png.len() * 4 / 5]).unwrap();
    assert!(matches!(prepared.warnings[..], [Warning::Incomplete { percent: 1..=50 }]));
    let half = expected.as_raw().len() / 2;
    assert_eq!(found.as_raw()[..half], expected.as_raw()[..half]);
    assert!(decoded(&png[..png.len() / 5]).is_err());
}

#[test]
fn sixteen_bits_keep_their_upper_byte() {
    let picture =
        image::ImageBuffer::from_fn(256, 1, |x, _| image::Rgb([(x * 257 + 200) as u16; 3]));
    let picture = image::DynamicImage::ImageRgb16(picture);
    for format in [image::ImageFormat::Png, image::ImageFormat::Tiff] {
        let mut file = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut file, format).unwrap();
        let (found, _) = decoded(&file.into_inner()).unwrap();
        for (x, pixel) in found.pixels().enumerate() {
            let value = (x * 257 + 200) as u16;
            assert_eq!(pixel.0, [(value >> 8) as u8; 3], "{format:?} {value}");
        }
    }
}

/// A GIF of four colours (black, red, green, blue) from its compressed indices. Its frame may have other sizes than
/// were encoded: screen, then left, top, width, height.
fn gif_of(screen: [u16; 2], frame: [u16; 4], data: &[u8]) -> Vec<u8> {
    let mut file = b"GIF89a".to_vec();
    file.extend(screen.iter().flat_map(|side| side.to_le_bytes()));
    file.extend([0x81, 0, 0, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255, 0x2c]);
    file.extend(frame.iter().flat_map(|side| side.to_le_bytes()));
    file.extend([0, 2]);
    for block in data.chunks(255) {
        file.push(block.len() as u8);
        file.extend(block);
    }
    file.extend([0, 0x3b]);
    file
}

/// A GIF of 2x2 pixels: 1, 2, 3, 1.
fn gif(screen: [u16; 2], frame: [u16; 4]) -> Vec<u8> {
    // Codes of 3 bits: clear, 1, 2, 3 (then 4 bits), 1, end.
    let codes: [(u32, u32); 6] = [(4, 3), (1, 3), (2, 3), (3, 3), (1, 4), (5, 4)];
    let (mut bits, mut count) = (0u32, 0);
    for (code, length) in codes {
        bits |= code << count;
        count += length;
    }
    gif_of(screen, frame, &bits.to_le_bytes()[..(count as usize).div_ceil(8)])
}

#[test]
fn rows_of_a_gif_end_anywhere_between_its_codes() {
    let patterns: [fn(usize) -> usize; 2] = [|at| at * at / 3 % 4, |at| at / 7 % 4];
    for (width, pattern) in (1..=40u16).flat_map(|width| patterns.map(|pattern| (width, pattern))) {
        let indices: Vec<u8> = (0..29 * usize::from(width)).map(|at| pattern(at) as u8).collect();
        let data = weezl::encode::Encoder::new(weezl::BitOrder::Lsb, 2).encode(&indices).unwrap();
        let (found, prepared) = decoded(&gif_of([width, 29], [0, 0, width, 29], &data)).unwrap();
        assert!(prepared.warnings.is_empty(), "width {width}: {:?}", prepared.warnings);
        let colours = [[0; 3], [255, 0, 0], [0, 255, 0], [0, 0, 255]];
        let expected = indices.iter().map(|&index| colours[usize::from(index)]);
        assert!(found.pixels().map(|pixel| pixel.0).eq(expected), "width {width}");
    }
}

#[test]
fn a_gif_shows_its_first_frame_on_the_screen_white_around_it() {
    let (found, _) = decoded(&gif([4, 3], [1, 1, 2, 2])).unwrap();
    assert_eq!(found.dimensions(), (4, 3));
    for (x, y, pixel) in found.enumerate_pixels() {
        let expected = match (x, y) {
            (1, 1) | (2, 2) => [255, 0, 0],
            (2, 1) => [0, 255, 0],
            (1, 2) => [0, 0, 255],
            _ => [255; 3],
        };
        assert_eq!(pixel.0, expected, "at {x}, {y}");
    }
    // The screen grows to a frame that is larger, and to one on a screen without pixels.
    assert_eq!(decoded(&gif([1, 1], [0, 0, 2, 2])).unwrap().0.dimensions(), (2, 2));
    assert_eq!(decoded(&gif([0, 0], [1, 0, 2, 2])).unwrap().0.dimensions(), (3, 2));
}

#[test]
fn a_gif_without_pixels_is_refused() {
    for frame in [[0, 0, 0, 2], [0, 0, 2, 0], [0, 0, 0, 0]] {
        for screen in [[0, 0], [0, 2], [2, 2]] {
            let error = refused(&gif(screen, frame));
            assert!(matches!(error, Error::Undecodable { format: "GIF", .. }), "{error}");
        }
    }
}

/// A BMP of 2x2 pixels (or `rle`), 40 or 56 bytes of header.
fn bmp(header: u32, bits: u16, compression: u32, between: &[u8], data: &[u8]) -> Vec<u8> {
    let mut file = b"BM\0\0\0\0\0\0\0\0".to_vec();
    file.extend((54 + between.len() as u32).to_le_bytes());
    file.extend(header.to_le_bytes());
    file.extend([2, 0, 0, 0, 2, 0, 0, 0, 1, 0]);
    file.extend(bits.to_le_bytes());
    file.extend(compression.to_le_bytes());
    file.extend([0; 12]);
    file.extend([3, 0, 0, 0, 0, 0, 0, 0]);
    [&file[..], between, data].concat()
}

#[test]
fn the_alpha_bit_of_a_16_bit_bmp_is_ignored() {
    let masks: Vec<u8> = [0x7c00u32, 0x03e0, 0x001f, 0x8000].map(u32::to_le_bytes).concat();
    // Blue, green; red, white: from the lowest row; the alpha bit is 0.
    let pixels = [0x1f, 0, 0xe0, 3, 0, 0x7c, 0xff, 0x7f];
    let (found, _) = decoded(&bmp(56, 16, 3, &masks, &pixels)).unwrap();
    let expected = [[255, 0, 0], [255; 3], [0, 0, 255], [0, 255, 0]];
    assert!(found.pixels().map(|pixel| pixel.0).eq(expected), "{:?}", found.as_raw());
    // Eight bits of alpha count.
    let masks: Vec<u8> = [0xff_0000u32, 0xff00, 0xff, 0xff00_0000].map(u32::to_le_bytes).concat();
    let pixels = [[0, 0, 255, 255], [0, 0, 255, 0], [255, 0, 0, 128], [0; 4]].concat();
    let (found, _) = decoded(&bmp(56, 32, 3, &masks, &pixels)).unwrap();
    let expected = [[127, 127, 255], [255; 3], [255, 0, 0], [255; 3]];
    assert!(found.pixels().map(|pixel| pixel.0).eq(expected), "{:?}", found.as_raw());
}

#[test]
fn pixels_that_a_run_length_encoded_bmp_skips_have_the_first_colour() {
    // Yellow, red, blue; as blue, green, red, 0.
    let palette = [0, 255, 255, 0, 0, 0, 255, 0, 255, 0, 0, 0];
    // Red; skip one pixel right and one row up; blue.
    let data = [1, 1, 0, 2, 0, 1, 1, 2, 0, 1];
    let (found, _) = decoded(&bmp(40, 8, 1, &palette, &data)).unwrap();
    let expected = [[255, 255, 0], [0, 0, 255], [255, 0, 0], [255, 255, 0]];
    assert!(found.pixels().map(|pixel| pixel.0).eq(expected), "{:?}", found.as_raw());
}

#[test]
fn a_run_length_encoded_bmp_that_is_cut_short() {
    // Blue; as blue, green, red, 0.
    let palette = [255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let decode = |data: &[u8]| decoded(&bmp(40, 8, 1, &palette, data));
    // The lower row; then a part of the upper one, with a literal run or a skip that is cut.
    for rest in [&[][..], &[0, 0], &[0, 0, 1, 0], &[0, 0, 0, 3, 0], &[0, 0, 0, 2, 1]] {
        let (found, prepared) = decode(&[&[2, 0], rest].concat()).unwrap();
        assert_eq!(prepared.warnings, [Warning::Incomplete { percent: 50 }], "{rest:?}");
        let expected = [[255; 3], [255; 3], [0, 0, 255], [0, 0, 255]];
        assert!(found.pixels().map(|pixel| pixel.0).eq(expected), "{rest:?} {:?}", found.as_raw());
    }
    let (_, prepared) = decode(&[2, 0, 0, 0, 2, 0]).unwrap();
    assert!(prepared.warnings.is_empty(), "only the end's code is missing");
    assert!(decode(&[1, 0]).is_err() && decode(&[]).is_err());
}

#[test]
fn runs_over_the_end_of_a_row_of_a_bmp_are_cut_off_with_a_warning() {
    // Blue, red; as blue, green, red, 0.
    let palette = [255, 0, 0, 0, 0, 0, 255, 0, 0, 0, 0, 0];
    for lower in [&[3, 0][..], &[0, 3, 0, 0, 1, 0], &[1, 0, 2, 0]] {
        let data = [lower, &[0, 0, 2, 1, 0, 1]].concat();
        let (found, prepared) = decoded(&bmp(40, 8, 1, &palette, &data)).unwrap();
        assert_eq!(prepared.warnings, [Warning::Damaged], "{lower:?}");
        let expected = [[255, 0, 0], [255, 0, 0], [0, 0, 255], [0, 0, 255]];
        assert!(found.pixels().map(|pixel| pixel.0).eq(expected), "{lower:?} {:?}", found.as_raw());
    }
}

#[test]
fn the_palette_of_a_bmp_may_reach_into_its_pixels() {
    // The second and third colours are the indices of the lower and the upper row, too.
    let palette = [0, 0, 0, 0, 1, 2, 9, 0, 2, 1, 7, 0];
    let mut file = bmp(40, 8, 0, &palette, &[]);
    file[10] = 58;
    let (found, _) = decoded(&file).unwrap();
    let expected = [[7, 1, 2], [9, 2, 1], [9, 2, 1], [7, 1, 2]];
    assert!(found.pixels().map(|pixel| pixel.0).eq(expected), "{:?}", found.as_raw());
}

#[test]
fn files_that_made_decoders_panic_are_refused_or_shown() {
    let error = refused(&bytes("fuzz-yuv.webp"));
    assert!(matches!(error, Error::Undecodable { format: "WebP", .. }), "{error}");
    assert_eq!(decoded(&bytes("fuzz-tiled-planar.tiff")).unwrap().0.dimensions(), (100, 40));
}

#[test]
fn known_formats_that_are_not_read_are_named() {
    let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic";
    let avif = b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf";
    let dicom = [&[0; 128][..], b"DICM\x02\0\0\0UL"].concat();
    let cases: [(&[u8], &str); 12] = [
        (heic, "HEIC"),
        (avif, "AVIF"),
        (&dicom, "DICOM"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"<?xml version=\"1.0\"?>\n<svg xmlns=\"\">", "SVG"),
        (b"\n<!DOCTYPE html><html>", "HTML"),
        (b"/9j/4AAQSkZJRgABAQAAAQABAAD/", "base64"),
        (b"data:image/jpeg;base64,/9j/4AAQ", "data URL"),
        (b"iVBORw0KGgoAAAANSUhEUgAA", "base64"),
    ];
    for (file, name) in cases {
        let error = refused(file);
        assert!(matches!(error, Error::Unsupported { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains(name), "{error}");
    }
    for nonsense in [&b"hello, world"[..], b"<a>", b"\0\0\0", b"/9j"] {
        assert!(matches!(decoded(nonsense), Err(Error::UnknownFormat)));
    }
}
