//! Plot of memory over time.

use super::states::Samples;
use anyhow::Context;
use std::fmt::Write;
use std::path::Path;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 50.0;
const BOTTOM: f64 = 40.0;

/// Writes `memory-NAME.svg` into the folder.
pub(crate) fn write(folder: &Path, name: &str, samples: &Samples) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let file: String =
        name.to_lowercase().chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    let path = folder.join(format!("memory-{file}.svg"));
    std::fs::write(&path, svg(name, samples)?).with_context(|| path.display().to_string())?;
    println!("wrote   {}", path.display());
    Ok(())
}

fn svg(name: &str, samples: &Samples) -> Result<String, std::fmt::Error> {
    let last = samples.points.last().map_or(1.0, |point| point.0);
    let most = samples.points.iter().map(|point| point.1).fold(1.0, f64::max);
    let top = (most / 10.0).ceil() * 10.0;
    let x = |seconds: f64| LEFT + seconds / last * (WIDTH - LEFT - 10.0);
    let y = |mib: f64| HEIGHT - BOTTOM - mib / top * (HEIGHT - BOTTOM - 30.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"16\" font-weight=\"bold\">{name}: resident memory of the server, MiB</text>\n"
    );
    for step in 0..=5 {
        let mib = top * f64::from(step) / 5.0;
        let at = y(mib);
        writeln!(
            out,
            "<path d=\"M{LEFT} {at:.1}H{:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{mib:.0}</text>",
            WIDTH - 10.0,
            LEFT - 6.0,
            at + 4.0
        )?;
    }
    for (number, (seconds, mark)) in samples.marks.iter().enumerate() {
        let (at, low) = (x(*seconds), HEIGHT - BOTTOM);
        writeln!(
            out,
            "<path d=\"M{at:.1} 30V{low}\" stroke=\"#999\" stroke-dasharray=\"3 3\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\">{mark}</text>",
            low + 14.0 + 12.0 * (number % 2) as f64
        )?;
    }
    // The largest sample per pixel column, as a step plot, so that a constant stretch is one line.
    let mut columns: Vec<(f64, f64)> = Vec::new();
    for (seconds, mib) in &samples.points {
        let at = (x(*seconds) * 2.0).round() / 2.0;
        match columns.last_mut() {
            Some((same, high)) if *same == at => *high = high.max(*mib),
            _ => columns.push((at, *mib)),
        }
    }
    let mut line = String::new();
    let mut level = String::new();
    for (at, mib) in columns {
        let new = format!("{:.1}", y(mib));
        if line.is_empty() {
            write!(line, "M{at:.1} {new}")?;
        } else if new != level {
            write!(line, "H{at:.1}V{new}")?;
        }
        level = new;
    }
    write!(line, "H{:.1}", WIDTH - 10.0)?;
    writeln!(
        out,
        "<path d=\"{line}\" fill=\"none\" stroke=\"#06c\" stroke-width=\"1.5\"/>\n</svg>"
    )?;
    Ok(out)
}
