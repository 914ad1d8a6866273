//! Every explanation of one picture, on one sheet.

use anyhow::Context;
use derm::{Classifier, Drawing, Explain, Method, ModelSource, Options, Request};
use font8x8::UnicodeFonts;
use image::{Rgb, RgbImage};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Explain a picture, by one method or by all on one sheet
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The picture
    picture: PathBuf,
    /// The model: a folder or an ONNX file
    #[arg(long, value_name = "PATH", default_value = "models/derm-lite0")]
    model: PathBuf,
    /// Methods, as the HTTP parameter has them, with commas between; `all`
    #[arg(long, default_value = "all", value_delimiter = ',')]
    method: Vec<String>,
    /// Classes, with commas between; the most probable one if none is named
    #[arg(long, value_delimiter = ',')]
    class: Vec<String>,
    /// The PNG file to write
    #[arg(short, long, value_name = "FILE", default_value = "sheet.png")]
    output: PathBuf,
}

/// Pixels around each picture, and above it for its name.
const FRAME: u32 = 6;
const LINE: u32 = 16;

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let classifier = Classifier::new(ModelSource::at(&arguments.model), Options::default())?;
    let bytes = std::fs::read(&arguments.picture)
        .with_context(|| arguments.picture.display().to_string())?;
    let picture = classifier.open(bytes)?;
    let mut tiles = Vec::new();
    for method in methods(&arguments.method)? {
        let explain =
            Explain::new(method).with_classes(&arguments.class).with_drawing(Drawing::Overlay);
        let request = Request::default().with_explain(explain);
        let start = Instant::now();
        let deadline = start + Duration::from_secs(3600);
        let report = classifier.classify(&picture, &request, deadline)?;
        let explanations = report.explanations.context("nothing was explained")?;
        let explanations = explanations?;
        println!("{:22} {:9.1} ms", method.to_string(), start.elapsed().as_secs_f64() * 1e3);
        for explanation in explanations {
            let file = explanation.rendering.file().context("nothing was drawn")?;
            let drawn = image::load_from_memory(file)?.into_rgb8();
            tiles.push((format!("{method} {}", explanation.class), drawn));
        }
    }
    sheet(&tiles).save(&arguments.output).context("the sheet could not be written")?;
    println!("wrote {}", arguments.output.display());
    Ok(())
}

/// The methods of these names.
pub(crate) fn methods(names: &[String]) -> anyhow::Result<Vec<Method>> {
    if names.iter().any(|name| name == "all") {
        return Ok(Method::ALL.to_vec());
    }
    let known = || Method::ALL.map(|method| method.to_string()).join(", ");
    let method = |wanted: &String| {
        let found = Method::ALL.into_iter().find(|method| method.to_string() == *wanted);
        found.with_context(|| format!("there is no method {wanted:?}; there are {}", known()))
    };
    names.iter().map(method).collect()
}

/// Named pictures in rows, about as wide as high.
fn sheet(tiles: &[(String, RgbImage)]) -> RgbImage {
    let (width, height) = tiles.iter().fold((1, 1), |(width, height), (_, tile)| {
        (tile.width().max(width), tile.height().max(height))
    });
    let columns = (1..).find(|n| n * n >= tiles.len()).unwrap_or(1) as u32;
    let rows = (tiles.len() as u32).div_ceil(columns);
    let (across, down) = (width + FRAME, height + FRAME + LINE);
    let white = Rgb([255; 3]);
    let mut sheet = RgbImage::from_pixel(columns * across + FRAME, rows * down + FRAME, white);
    for (number, (name, tile)) in tiles.iter().enumerate() {
        let (column, row) = (number as u32 % columns, number as u32 / columns);
        let (x, y) = (FRAME + column * across, FRAME + row * down);
        write(&mut sheet, name, x, y + 3);
        image::imageops::replace(&mut sheet, tile, x.into(), (y + LINE).into());
    }
    sheet
}

/// Black letters of 8 by 8 pixels.
fn write(sheet: &mut RgbImage, text: &str, x: u32, y: u32) {
    for (place, letter) in text.chars().enumerate() {
        let Some(rows) = font8x8::BASIC_FONTS.get(letter) else { continue };
        for (dy, row) in rows.iter().enumerate() {
            for dx in (0..8).filter(|dx| row & (1 << dx) != 0) {
                let at = (x + 8 * place as u32 + dx, y + dy as u32);
                if let Some(pixel) = sheet.get_pixel_mut_checked(at.0, at.1) {
                    *pixel = Rgb([0; 3]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_holds_every_tile_and_its_name() {
        let tile = |value| RgbImage::from_pixel(40, 30, Rgb([value, 0, 0]));
        let tiles: Vec<_> = (1..=5).map(|n| (format!("tile {n}"), tile(n * 40))).collect();
        let sheet = sheet(&tiles);
        assert_eq!(sheet.dimensions(), (3 * 46 + 6, 2 * 52 + 6));
        for n in 1..=5u8 {
            let of = sheet.pixels().filter(|p| p.0 == [n * 40, 0, 0]).count();
            assert_eq!(of, 40 * 30);
        }
        assert!(sheet.pixels().filter(|p| p.0 == [0; 3]).count() > 5 * 50, "letters");
    }
}
