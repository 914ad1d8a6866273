//! TIFF: every combination of colours, layout and compression that is read, from files made here.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{bytes, decoded, difference, refused};
use derm_preprocess::{Error, RgbImage, Warning};
use fax::encoder::Encoder;
use fax::{Color, VecWriter};
use std::io::Write;

const WIDTH: usize = 21;
const HEIGHT: usize = 13;

/// A TIFF: its tags, and strips or tiles.
struct Tiff {
    big_endian: bool,
    tags: Vec<(u16, Vec<u16>)>,
    chunks: Vec<Vec<u8>>,
    is_tiled: bool,
}

impl Tiff {
    fn new(photometric: u16, bits: &[u16], chunks: Vec<Vec<u8>>) -> Tiff {
        let tags = vec![
            (256, vec![WIDTH as u16]),
            (257, vec![HEIGHT as u16]),
            (258, bits.to_vec()),
            (262, vec![photometric]),
            (277, vec![bits.len() as u16]),
        ];
        Tiff { big_endian: false, tags, chunks, is_tiled: false }
    }

    fn tag(mut self, tag: u16, values: &[u16]) -> Tiff {
        self.tags.push((tag, values.to_vec()));
        self
    }

    fn file(mut self) -> Vec<u8> {
        let big = self.big_endian;
        let short = move |v: u16| if big { v.to_be_bytes() } else { v.to_le_bytes() };
        let long = move |v: u32| if big { v.to_be_bytes() } else { v.to_le_bytes() };
        let mut file = if big { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
        file.extend([0; 4]);
        let (mut offsets, mut lengths) = (Vec::new(), Vec::new());
        for chunk in &self.chunks {
            offsets.push(file.len() as u32);
            lengths.push(chunk.len() as u32);
            file.extend(chunk);
        }
        let mut entries: Vec<(u16, u16, usize, Vec<u8>)> = Vec::new();
        let (at, length) = if self.is_tiled { (324, 325) } else { (273, 279) };
        for (tag, values) in [(at, offsets), (length, lengths)] {
            let bytes = values.iter().flat_map(|&v| long(v)).collect();
            entries.push((tag, 4, values.len(), bytes));
        }
        for (tag, values) in self.tags.drain(..) {
            let bytes = values.iter().flat_map(|&v| short(v)).collect();
            entries.push((tag, 3, values.len(), bytes));
        }
        entries.sort_by_key(|entry| entry.0);
        let mut directory = short(entries.len() as u16).to_vec();
        for (tag, kind, count, mut value) in entries {
            directory.extend(short(tag));
            directory.extend(short(kind));
            directory.extend(long(count as u32));
            if value.len() > 4 {
                directory.extend(long(file.len() as u32));
                file.extend(value);
            } else {
                value.resize(4, 0);
                directory.extend(value);
            }
        }
        directory.extend(long(0));
        let start = long(file.len() as u32);
        file[4..8].copy_from_slice(&start);
        file.extend(directory);
        file
    }
}

/// A sample of the test picture.
fn sample(x: usize, y: usize, channel: usize) -> u8 {
    (x * 11 + y * 7 + channel * 90 + x * y) as u8
}

fn picture() -> RgbImage {
    RgbImage::from_fn(WIDTH as u32, HEIGHT as u32, |x, y| {
        image::Rgb([0, 1, 2].map(|channel| sample(x as usize, y as usize, channel)))
    })
}

/// The samples of these rows and columns, in the order row, column, channel.
fn samples(
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
    channels: std::ops::Range<usize>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    for y in rows {
        for x in columns.clone() {
            bytes.extend(channels.clone().map(|channel| sample(x, y, channel)));
        }
    }
    bytes
}

fn all(channels: std::ops::Range<usize>) -> Vec<u8> {
    samples(0..HEIGHT, 0..WIDTH, channels)
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn check(tiff: Tiff, expected: &RgbImage, name: &str) {
    let (found, prepared) = decoded(&tiff.file()).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(difference(&found, expected) < 0.01, "{name}: {}", difference(&found, expected));
    assert!(prepared.warnings.is_empty(), "{name}: {:?}", prepared.warnings);
}

#[test]
fn chunky_planar_strips_tiles_and_compression() {
    let rgb = [8; 3];
    let strip = |rows| samples(rows, 0..WIDTH, 0..3);
    check(Tiff::new(2, &rgb, vec![all(0..3)]), &picture(), "one strip");
    let strips = vec![strip(0..5), strip(5..10), strip(10..13)];
    check(Tiff::new(2, &rgb, strips.clone()).tag(278, &[5]), &picture(), "strips");
    let packed = strips.iter().map(|strip| deflate(strip)).collect();
    let tiff = Tiff::new(2, &rgb, packed).tag(278, &[5]).tag(259, &[8]);
    check(tiff, &picture(), "deflate");
    let planes: Vec<Vec<u8>> = (0..3).map(|channel| all(channel..channel + 1)).collect();
    check(Tiff::new(2, &rgb, planes.clone()).tag(284, &[2]), &picture(), "planar");
    let joined = vec![planes.concat()];
    check(Tiff::new(2, &rgb, joined).tag(284, &[2]), &picture(), "planes in one strip");
    for planar in [false, true] {
        let per_plane = if planar { 1 } else { 3 };
        let mut tiles = Vec::new();
        for channels in (0..3).step_by(per_plane).map(|first| first..first + per_plane) {
            for (row, column) in [(0, 0), (0, 16)] {
                tiles.push(samples(row..row + 16, column..column + 16, channels.clone()));
            }
        }
        let tiff = Tiff::new(2, &rgb, tiles).tag(322, &[16]).tag(323, &[16]);
        let tiff = Tiff { is_tiled: true, ..tiff.tag(284, &[if planar { 2 } else { 1 }]) };
        check(tiff, &picture(), if planar { "planar tiles" } else { "tiles" });
    }
}

#[test]
fn sixteen_bits_in_both_byte_orders() {
    for big_endian in [false, true] {
        for planar in [false, true] {
            for differences in [false, true] {
                let wide = |bytes: &[u8], step: usize| -> Vec<u8> {
                    let values: Vec<u16> = bytes.iter().map(|&v| u16::from(v) << 8 | 77).collect();
                    let row = WIDTH * step;
                    let value = |index: usize| match index % row {
                        within if differences && within >= step => {
                            values[index].wrapping_sub(values[index - step])
                        }
                        _ => values[index],
                    };
                    let order = |v: u16| if big_endian { v.to_be_bytes() } else { v.to_le_bytes() };
                    let bytes = (0..values.len()).flat_map(|index| order(value(index)));
                    deflate(&bytes.collect::<Vec<u8>>())
                };
                let chunks = match planar {
                    true => (0..3).map(|channel| wide(&all(channel..channel + 1), 1)).collect(),
                    false => vec![wide(&all(0..3), 3)],
                };
                let tiff = Tiff::new(2, &[16; 3], chunks);
                let tiff = tiff.tag(284, &[if planar { 2 } else { 1 }]);
                let tiff = tiff.tag(317, &[if differences { 2 } else { 1 }]);
                let tiff = tiff.tag(259, &[8]);
                let name = format!("big-endian {big_endian} planar {planar} {differences}");
                check(Tiff { big_endian, ..tiff }, &picture(), &name);
            }
        }
    }
}

#[test]
fn colours() {
    let grey = |f: fn(u8) -> u8| {
        let mut grey = picture();
        grey.pixels_mut().for_each(|pixel| pixel.0 = [f(pixel.0[0]); 3]);
        grey
    };
    check(Tiff::new(1, &[8], vec![all(0..1)]), &grey(|v| v), "grey");
    check(Tiff::new(0, &[8], vec![all(0..1)]), &grey(|v| 255 - v), "white is zero");
    // Each index has the colour (i, 255 - i, i / 2), 16 bits each.
    let map: Vec<u16> = (0..768u16)
        .map(|at| [at % 256, 255 - at % 256, at % 256 / 2][usize::from(at / 256)] << 8)
        .collect();
    let mut coloured = picture();
    coloured.pixels_mut().for_each(|p| p.0 = [p.0[0], 255 - p.0[0], p.0[0] / 2]);
    check(Tiff::new(3, &[8], vec![all(0..1)]).tag(320, &map), &coloured, "palette");
    // Inks without black are complements.
    let mut inks = all(0..3);
    inks.iter_mut().for_each(|value| *value = 255 - *value);
    let inks: Vec<u8> =
        inks.chunks(3).flat_map(|three| [three[0], three[1], three[2], 0]).collect();
    check(Tiff::new(5, &[8; 4], vec![inks]), &picture(), "CMYK");
    // Four bits a sample.
    let rows = all(0..1);
    let packed: Vec<u8> = rows
        .chunks(WIDTH)
        .flat_map(|row| row.chunks(2).map(|two| two[0] & 0xf0 | two.get(1).unwrap_or(&0) >> 4))
        .collect();
    check(Tiff::new(1, &[4], vec![packed]), &grey(|v| (v >> 4) * 17), "four bits");
}

#[test]
fn alpha_is_blended_over_white() {
    let mut expected = picture();
    for (x, y, pixel) in expected.enumerate_pixels_mut() {
        let alpha = f64::from(sample(x as usize, y as usize, 3));
        let over = |v: u8| ((f64::from(v) * alpha + 255.0 * (255.0 - alpha)) / 255.0).round();
        pixel.0 = pixel.0.map(|v| over(v) as u8);
    }
    let unassociated = all(0..4);
    check(Tiff::new(2, &[8; 4], vec![unassociated.clone()]).tag(338, &[2]), &expected, "RGBA");
    let associated: Vec<u8> = unassociated
        .chunks(4)
        .flat_map(|p| [0, 1, 2, 3].map(|i| if i == 3 { p[3] } else { premultiplied(p[i], p[3]) }))
        .collect();
    let (found, _) =
        decoded(&Tiff::new(2, &[8; 4], vec![associated]).tag(338, &[1]).file()).unwrap();
    let worst = found.as_raw().iter().zip(expected.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(worst <= Some(1), "{worst:?}");
    // A fourth sample that is no alpha.
    check(Tiff::new(2, &[8; 4], vec![unassociated]).tag(338, &[0]), &picture(), "RGBX");
    // Grey and alpha.
    let grey: Vec<u8> = all(0..4).chunks(4).flat_map(|p| [p[0], p[3]]).collect();
    let mut greys = expected.clone();
    greys.pixels_mut().for_each(|p| p.0 = [p.0[0]; 3]);
    check(Tiff::new(1, &[8; 2], vec![grey]).tag(338, &[2]), &greys, "grey and alpha");
}

fn premultiplied(value: u8, alpha: u8) -> u8 {
    ((u32::from(value) * u32::from(alpha) + 127) / 255) as u8
}

#[test]
fn the_orientation_tag_orients() {
    let tiff = Tiff::new(2, &[8; 3], vec![all(0..3)]).tag(274, &[6]);
    check(tiff, &image::imageops::rotate90(&picture()), "orientation 6");
}

#[test]
fn a_jpeg_in_a_strip_is_decoded() {
    // Its chroma is subsampled; the strip is the whole file.
    let jpeg = bytes("subsampled.jpg");
    let (expected, _) = decoded(&jpeg).unwrap();
    let mut tiff = Tiff::new(6, &[8; 3], vec![jpeg]).tag(259, &[7]).tag(530, &[2, 2]);
    tiff.tags[0].1 = vec![expected.width() as u16];
    tiff.tags[1].1 = vec![expected.height() as u16];
    check(tiff, &expected, "JPEG");
}

#[test]
fn what_is_not_read_is_named() {
    let rgb = || Tiff::new(2, &[8; 3], vec![all(0..3)]);
    let cases = [
        (Tiff::new(8, &[8; 3], vec![all(0..3)]), "CIELab"),
        (rgb().tag(339, &[3, 3, 3]), "floating-point"),
        (rgb().tag(339, &[2, 2, 2]), "signed"),
        (rgb().tag(259, &[50000]), "Zstandard"),
        (rgb().tag(259, &[34925]), "LZMA"),
        (rgb().tag(259, &[6]), "old-style JPEG"),
        (Tiff::new(6, &[8; 3], vec![all(0..3)]), "subsampled YCbCr"),
        (Tiff::new(2, &[8, 8, 16], vec![all(0..3)]), "different sizes"),
        (Tiff::new(1, &[32], vec![all(0..4)]), "32 bits"),
    ];
    for (tiff, name) in cases {
        let error = refused(&tiff.file());
        assert!(
            matches!(&error, Error::Unsupported { what, .. } if what.contains(name)),
            "{error}"
        );
    }
}

#[test]
fn a_strip_that_is_cut_short_is_white() {
    let mut file = Tiff::new(2, &[8; 3], vec![all(0..3)]).file();
    // The strip's length says that two of its rows are missing.
    let length = (WIDTH * HEIGHT * 3) as u32;
    let at = file.windows(4).rposition(|four| four == length.to_le_bytes()).unwrap();
    file[at..at + 4].copy_from_slice(&(length - 100).to_le_bytes());
    let (found, prepared) = decoded(&file).unwrap();
    assert_eq!(prepared.warnings.len(), 1);
    assert!(found.rows().next_back().unwrap().all(|pixel| pixel.0 == [255; 3]));
}

#[test]
fn hostile_directories_end() {
    let file = || Tiff::new(2, &[8; 3], vec![all(0..3)]).file();
    // The chain of directories is a circle: only the first is read.
    let mut circle = file();
    let start = circle[4..8].to_vec();
    let end = circle.len() - 4;
    circle[end..].copy_from_slice(&start);
    assert_eq!(decoded(&circle).unwrap().0, picture());
    // Strips without rows; more tiles than the file has; more tiles than any picture has.
    let tiff = Tiff::new(2, &[8; 3], vec![all(0..3)]).tag(278, &[0]);
    assert!(decoded(&tiff.file()).is_err());
    for count in [1, 400_000] {
        let mut tiff = Tiff::new(1, &[8], vec![Vec::new(); count]).tag(322, &[1]).tag(323, &[1]);
        (tiff.tags[0].1, tiff.tags[1].1) = (vec![4000], vec![100]);
        let error = refused(&Tiff { is_tiled: true, ..tiff }.file());
        assert!(error.to_string().contains("strips or tiles"), "{error}");
    }
    for length in 0..file().len() {
        let _ = decoded(&file()[..length]);
    }
}

/// A BigTIFF of one grey strip: tags of one value each, tag, type, count, value.
fn big_tiff(entries: &[(u16, u16, u64, u64)], strip: &[u8]) -> Vec<u8> {
    let mut file = b"II\x2b\0\x08\0\0\0".to_vec();
    file.extend((16 + strip.len() as u64).to_le_bytes());
    file.extend(strip);
    file.extend((entries.len() as u64).to_le_bytes());
    for (tag, kind, count, value) in entries {
        file.extend(tag.to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.extend(count.to_le_bytes());
        file.extend(value.to_le_bytes());
    }
    file
}

#[test]
fn counts_of_a_directory_cost_no_time() {
    let mut strip = vec![0x0f; 4];
    // Where the only strip lies, and its length: the first of 2^60, by the file's word.
    strip.extend(16u32.to_le_bytes());
    strip.extend([0; 4]);
    let lists = [(273, 4, 1 << 60, 20), (279, 4, 1 << 60, 24), (347, 7, u64::MAX, 16)];
    let tags = [(256, 3, 1, 2), (257, 3, 1, 2), (258, 3, 1, 8), (259, 3, 1, 1), (266, 3, 1, 2)];
    let (found, _) = decoded(&big_tiff(&[&tags[..], &lists].concat(), &strip)).unwrap();
    assert!(found.pixels().all(|pixel| pixel.0 == [0xf0; 3]), "{:?}", found.as_raw());
}

/// A bilevel TIFF of one strip in CCITT Group 4.
fn group4(width: u16, height: u16, strip: Vec<u8>) -> Tiff {
    let mut tiff = Tiff::new(0, &[1], vec![strip]).tag(259, &[4]);
    (tiff.tags[0].1, tiff.tags[1].1) = (vec![width], vec![height]);
    tiff
}

#[test]
fn group_4_is_decoded() {
    let (width, height) = (203, 150);
    // Rows without runs, with runs of all lengths, with many runs, and with few.
    let is_black = |x: u32, y: u32| match y % 5 {
        0 => false,
        1 => (x * x / (y + 1)).is_multiple_of(3),
        2 => (x / (1 + y / 4)).is_multiple_of(2),
        3 => (x + y).is_multiple_of(2),
        _ => x + 3 * y > 300,
    };
    let mut encoder = Encoder::new(VecWriter::new());
    for y in 0..height {
        let row = (0..width).map(|x| if is_black(x, y) { Color::Black } else { Color::White });
        encoder.encode_line(row, width as u16).unwrap();
    }
    let strip = encoder.finish().unwrap().finish();
    let expected = RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([if is_black(x, y) { 0 } else { 255 }; 3])
    });
    check(group4(width as u16, height as u16, strip), &expected, "CCITT Group 4");
}

/// Bytes from codes, as strings of bits.
fn packed(codes: &[&str]) -> Vec<u8> {
    let byte = |bits: &[u8]| {
        bits.iter().enumerate().map(|(at, &bit)| u8::from(bit == b'1') << (7 - at)).sum()
    };
    codes.concat().as_bytes().chunks(8).map(byte).collect()
}

/// Rows of a picture as text: `#` is black.
fn drawn(picture: &RgbImage) -> Vec<String> {
    let text = |pixel: &image::Rgb<u8>| if pixel.0 == [0; 3] { '#' } else { '.' };
    picture.rows().map(|row| row.map(text).collect()).collect()
}

/// Codes of T.4 and T.6: modes, white and black runs, the end of a line.
const PASS: &str = "0001";
const HORIZONTAL: &str = "001";
const V0: &str = "1";
const RIGHT_3: &str = "0000011";
const LEFT_3: &str = "0000010";
const EXTENSION: &str = "0000001";
const WHITE: [&str; 9] =
    ["00110101", "000111", "0111", "1000", "1011", "1100", "1110", "1111", "10011"];
const BLACK: [&str; 5] = ["0000110111", "010", "11", "10", "011"];
const EOL: &str = "000000000001";

#[test]
fn group_4_counts_changes_around_empty_runs_as_libtiff_does() {
    // Encoders exist that refer to them.
    let first = [HORIZONTAL, WHITE[0], BLACK[0], HORIZONTAL, WHITE[8], BLACK[3], V0];
    let second = [PASS, HORIZONTAL, WHITE[3], BLACK[2], V0, V0, V0];
    let strip = packed(&[&first[..], &second].concat());
    let (found, prepared) = decoded(&group4(16, 2, strip).file()).unwrap();
    assert_eq!(drawn(&found), ["........###.....", "...##...###....."]);
    assert!(prepared.warnings.is_empty(), "{:?}", prepared.warnings);
}

#[test]
fn the_rest_of_a_damaged_row_of_group_4_is_white() {
    let good = [HORIZONTAL, WHITE[4], BLACK[4], V0];
    // A code that is not read; a change behind the row's end; one before the last change.
    let damaged = [
        vec![HORIZONTAL, WHITE[2], BLACK[2], EXTENSION],
        vec![V0, V0, RIGHT_3],
        vec![RIGHT_3, LEFT_3],
    ];
    let shown = ["..##............", "....####........", "................"];
    for (damaged, shown) in damaged.into_iter().zip(shown) {
        let strip = packed(&[&good[..], &damaged, &good].concat());
        let (found, prepared) = decoded(&group4(16, 3, strip).file()).unwrap();
        assert_eq!(drawn(&found), ["....####........", shown, "....####........"], "{damaged:?}");
        assert_eq!(prepared.warnings, [Warning::Damaged]);
    }
    let strip = packed(&[EXTENSION, EXTENSION, HORIZONTAL, WHITE[4], BLACK[4], V0]);
    let error = refused(&group4(16, 3, strip).file());
    assert!(matches!(error, Error::Undecodable { format: "TIFF", .. }), "{error}");
}

#[test]
fn a_row_of_group_4_has_no_more_changes_than_memory_is_set_aside_for() {
    let mut codes = vec![V0; 3];
    for _ in 0..100_000 {
        codes.extend([HORIZONTAL, WHITE[0], BLACK[0]]);
    }
    let (found, prepared) = decoded(&group4(600, 4, packed(&codes)).file()).unwrap();
    assert!(found.pixels().all(|pixel| pixel.0 == [255; 3]));
    assert_eq!(prepared.warnings, [Warning::Damaged]);
    refused(&group4(600, 4, packed(&codes[3..])).file());
}

#[test]
fn two_dimensional_group_3_is_decoded() {
    let one = [EOL, "1", WHITE[4], BLACK[4], WHITE[8]];
    let two = [EOL, "0", RIGHT_3, V0, V0];
    let end = [EOL, "1", EOL, "1"];
    let strip = packed(&[&one[..], &two, &one, &end].concat());
    let tiff = |strip| {
        let mut tiff = group4(16, 3, strip).tag(292, &[1]);
        tiff.tags.iter_mut().filter(|(tag, _)| *tag == 259).for_each(|tag| tag.1 = vec![3]);
        tiff.file()
    };
    let (found, prepared) = decoded(&tiff(strip)).unwrap();
    assert_eq!(drawn(&found), ["....####........", ".......#........", "....####........"]);
    assert!(prepared.warnings.is_empty(), "{:?}", prepared.warnings);
    // A damaged row ends at the next end of a line.
    let damaged = [EOL, "0", EXTENSION, "110111"];
    let strip = packed(&[&one[..], &damaged, &one, &end].concat());
    let (found, prepared) = decoded(&tiff(strip)).unwrap();
    assert_eq!(drawn(&found), ["....####........", "................", "....####........"]);
    assert_eq!(prepared.warnings, [Warning::Damaged]);
}

#[test]
fn lzw_of_both_orders_of_bits_with_clear_codes_anywhere() {
    let pixels = all(0..3);
    let tiff = |strip| Tiff::new(2, &[8; 3], vec![strip]).tag(259, &[5]);
    let old = weezl::encode::Encoder::new(weezl::BitOrder::Lsb, 8).encode(&pixels).unwrap();
    check(tiff(old), &picture(), "bits in the order before TIFF 6.0");
    // Two clear codes, and one after every seven pixels: all codes have nine bits.
    let mut codes = vec!["100000000".to_owned()];
    for part in pixels.chunks(7) {
        codes.push("100000000".to_owned());
        codes.extend(part.iter().map(|value| format!("{value:09b}")));
    }
    codes.push("100000001".to_owned());
    let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
    check(tiff(packed(&codes)), &picture(), "clear codes");
}

/// A TIFF of these JPEGs as strips of so many pixels.
fn of_jpegs(strips: Vec<Vec<u8>>, (width, rows): (u32, u32)) -> Vec<u8> {
    let height = rows as usize * strips.len();
    let tiff = Tiff::new(6, &[8; 3], strips).tag(259, &[7]).tag(530, &[2, 2]);
    let mut tiff = tiff.tag(278, &[rows as u16]).tag(266, &[2]);
    (tiff.tags[0].1, tiff.tags[1].1) = (vec![width as u16], vec![height as u16]);
    tiff.file()
}

#[test]
fn damage_of_a_jpeg_in_a_strip_is_told() {
    let jpeg = bytes("subsampled.jpg");
    let (whole, _) = decoded(&jpeg).unwrap();
    let (width, height) = whole.dimensions();
    let file = of_jpegs(vec![jpeg[..jpeg.len() * 9 / 10].to_vec()], (width, height));
    assert_eq!(decoded(&file).unwrap().1.warnings, [Warning::Damaged]);
    // One of two strips is missing; then that is most of the picture.
    for missing in [Vec::new(), jpeg[..100].to_vec()] {
        let file = of_jpegs(vec![jpeg.clone(), missing.clone()], (width, height));
        let (found, prepared) = decoded(&file).unwrap();
        assert_eq!(prepared.warnings, [Warning::Incomplete { percent: 50 }]);
        assert_eq!(image::imageops::crop_imm(&found, 0, 0, width, height).to_image(), whole);
        refused(&of_jpegs(vec![missing.clone(), missing], (width, height)));
    }
}

#[test]
fn a_jpeg_of_another_size_than_its_strip() {
    let jpeg = bytes("subsampled.jpg");
    let (whole, _) = decoded(&jpeg).unwrap();
    let (width, height) = whole.dimensions();
    for size in [(width - 1, height), (width, height - 32)] {
        let error = refused(&of_jpegs(vec![jpeg.clone()], size));
        assert!(error.to_string().contains("a JPEG of"), "{error}");
    }
    let (found, prepared) = decoded(&of_jpegs(vec![jpeg], (width + 1, height))).unwrap();
    assert_eq!(prepared.warnings, [Warning::Damaged]);
    assert_eq!(image::imageops::crop_imm(&found, 0, 0, width, height).to_image(), whole);
}

#[test]
fn a_predictor_without_a_compression_that_has_one_is_ignored() {
    let tiff = || Tiff::new(2, &[8; 3], vec![all(0..3)]);
    check(tiff().tag(317, &[2]), &picture(), "predictor 2");
    check(tiff().tag(317, &[3]), &picture(), "predictor 3");
}

#[test]
fn a_strip_that_fails_its_checksum_is_damaged() {
    let mut strip = deflate(&all(0..3));
    let last = strip.len() - 1;
    strip[last] ^= 1;
    let (found, prepared) =
        decoded(&Tiff::new(2, &[8; 3], vec![strip]).tag(259, &[8]).file()).unwrap();
    assert_eq!((found, prepared.warnings), (picture(), vec![Warning::Damaged]));
}
