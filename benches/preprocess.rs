//! From a picture's bytes to the input tensor, by format and size.

#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use derm_preprocess::{Filter, Fit, Limits, Picture, Spec};
use image::{DynamicImage, ImageFormat};
use std::hint::black_box;
use std::io::Cursor;

fn preprocess(criterion: &mut Criterion) {
    let spec = Spec { filter: Filter::Bicubic, ..Spec::square(224) };
    let limits = Limits { max_bytes: usize::MAX, ..Limits::default() };
    let whole = Spec { width: 800, height: 600, fit: Fit::Stretch, ..spec.clone() };
    let prepare = |spec: &Spec, bytes: &[u8]| {
        Picture::open(bytes, &limits).and_then(|picture| picture.prepare(spec)).expect("a picture")
    };
    let picture = prepare(&whole, derm_benches::PICTURE);
    let picture = DynamicImage::ImageRgb8(picture.view);
    let encoded = |width: u32, height: u32, format: ImageFormat| {
        let scaled = picture.resize_exact(width, height, image::imageops::FilterType::Triangle);
        let mut bytes = Cursor::new(Vec::new());
        scaled.write_to(&mut bytes, format).expect("in memory");
        bytes.into_inner()
    };
    let cases = [
        ("jpeg 800x600", derm_benches::PICTURE.to_vec()),
        ("png 800x600", encoded(800, 600, ImageFormat::Png)),
        ("webp 800x600", encoded(800, 600, ImageFormat::WebP)),
        ("bmp 800x600", encoded(800, 600, ImageFormat::Bmp)),
        ("png 224x224", encoded(224, 224, ImageFormat::Png)),
        ("png 4000x3000", encoded(4000, 3000, ImageFormat::Png)),
        ("jpeg 1600x1200", large_jpeg()),
    ];
    let mut group = criterion.benchmark_group("preprocess");
    group.sample_size(10);
    for (name, bytes) in cases {
        group.bench_function(name, |bencher| {
            bencher.iter(|| prepare(&spec, black_box(&bytes)));
        });
    }
    group.finish();
}

fn large_jpeg() -> Vec<u8> {
    include_bytes!("../crates/derm-preprocess/tests/data/large.jpg").to_vec()
}

criterion_group!(benches, preprocess);
criterion_main!(benches);
