//! `derm explain`: heatmaps of pictures, by one method or by several on a contact sheet.

use crate::model::ModelOption;
use crate::pictures::{self, PictureArguments};
use crate::predict::Outcome;
use anyhow::{Context, ensure};
use derm::{Classifier, Drawing, Explain, Layer, Limits, Method, Options, Request};
use font8x8::UnicodeFonts;
use image::{Rgb, RgbImage};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Explain pictures: a heatmap for one method and class, a contact sheet for several
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pictures: PictureArguments,
    #[command(flatten)]
    model: ModelOption,
    /// Methods, comma-separated, named as in the HTTP parameter; or `all`
    #[arg(long, default_value = "gradcam", value_delimiter = ',')]
    method: Vec<String>,
    /// Classes, comma-separated; the most probable one by default
    #[arg(long, value_delimiter = ',')]
    class: Vec<String>,
    /// The layer to explain: the name of an ONNX node or value, or its number [default: the last feature map]
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,
    /// Neither names nor times
    #[arg(short, long)]
    quiet: bool,
    /// The PNG file to write; the folder, where there are several pictures
    #[arg(short, long, value_name = "FILE|DIR", default_value = "heatmap.png")]
    output: PathBuf,
}

/// Margin of each picture, and height of the caption above it, pixels.
const FRAME: u32 = 6;
const LINE: u32 = 16;

/// Runs the command.
///
/// # Errors
/// The model cannot be loaded or explained, or the output cannot be written. A picture that cannot be read is named.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let classifier = arguments.model.classifier(Options::default())?;
    let methods = methods(&arguments.method)?;
    let found = pictures::find(&arguments.pictures.paths)?;
    let several = found.len() > 1 || arguments.pictures.paths.iter().any(|path| path.is_dir());
    let mut outcome = Outcome::Complete;
    for path in &found {
        let bytes = match pictures::read(path, &Limits::default()) {
            Ok(bytes) => bytes,
            Err(error) => {
                outcome = unreadable(path, &error)?;
                continue;
            }
        };
        let tiles = match tiles(arguments, &classifier, bytes, &methods) {
            Ok(tiles) => tiles,
            Err(error) if matches!(error.downcast_ref(), Some(derm::Error::Picture(_))) => {
                outcome = unreadable(path, &error)?;
                continue;
            }
            Err(error) => return Err(error.context(path.display().to_string())),
        };
        let file = if several { place(arguments, path)? } else { arguments.output.clone() };
        let drawn = match &tiles[..] {
            [(_, tile)] => tile.clone(),
            tiles => sheet(tiles),
        };
        drawn.save(&file).with_context(|| file.display().to_string())?;
        if !arguments.quiet {
            writeln!(io::stdout(), "{} -> {}", path.display(), file.display())?;
        }
    }
    Ok(outcome)
}

fn unreadable(path: &Path, error: &anyhow::Error) -> anyhow::Result<Outcome> {
    writeln!(std::io::stderr(), "{}: {error:#}", path.display())?;
    Ok(Outcome::Partial)
}

/// Where the heatmap of one of several pictures goes: as in the folder that it is of, so that equal names do not meet.
fn place(arguments: &Arguments, path: &Path) -> anyhow::Result<PathBuf> {
    let inner = arguments.pictures.paths.iter().find_map(|folder| path.strip_prefix(folder).ok());
    let inner = inner.filter(|inner| !inner.as_os_str().is_empty());
    let name =
        inner.or_else(|| path.file_name().map(Path::new)).context("a picture without name")?;
    let mut file = arguments.output.join(name).into_os_string();
    file.push(".png");
    let file = PathBuf::from(file);
    let folder = file.parent().unwrap_or(&arguments.output);
    ensure!(!arguments.output.is_file(), "{} is no folder", arguments.output.display());
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    Ok(file)
}

/// An overlay for each method and class, with its name.
fn tiles(
    arguments: &Arguments,
    classifier: &Classifier,
    bytes: Vec<u8>,
    methods: &[Method],
) -> anyhow::Result<Vec<(String, RgbImage)>> {
    let picture = classifier.open(bytes)?;
    let mut tiles = Vec::new();
    for &method in methods {
        let explain = Explain::new(method)
            .with_classes(&arguments.class)
            .with_layer(arguments.layer.clone().map_or(Layer::Last, Layer::Named))
            .with_drawing(Drawing::Overlay);
        let request = Request::default().with_explain(explain);
        let start = Instant::now();
        let deadline = start + Duration::from_secs(3600);
        let report = classifier.classify(&picture, &request, deadline)?;
        let explanations = report.explanations.context("nothing was explained")??;
        if !arguments.quiet {
            writeln!(
                io::stdout(),
                "{:22} {:9.1} ms",
                method.to_string(),
                start.elapsed().as_secs_f64() * 1e3
            )?;
        }
        for explanation in explanations {
            let file = explanation.rendering.file().context("nothing was drawn")?;
            let drawn = image::load_from_memory(file)?.into_rgb8();
            tiles.push((format!("{method} {}", explanation.class), drawn));
        }
    }
    Ok(tiles)
}

/// The methods of these names; all for `all`.
///
/// # Errors
/// There is no method of a name.
pub fn methods(names: &[String]) -> anyhow::Result<Vec<Method>> {
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

/// Captioned pictures on an approximately square grid.
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

/// Draws black letters of 8x8 pixels.
fn write(sheet: &mut RgbImage, text: &str, x: u32, y: u32) {
    for (index, letter) in text.chars().enumerate() {
        let Some(rows) = font8x8::BASIC_FONTS.get(letter) else { continue };
        for (dy, row) in rows.iter().enumerate() {
            for dx in (0..8).filter(|dx| row & (1 << dx) != 0) {
                let at = (x + 8 * index as u32 + dx, y + dy as u32);
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
