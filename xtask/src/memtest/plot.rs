//! Plot of memory over time.

use super::states::Samples;
use anyhow::Context;
use derm_cli::plot::{self, AXIS, FONT, TITLE};
use plotters::prelude::*;
use std::path::Path;

const WIDTH: u32 = 1520;
const HEIGHT: u32 = 640;
/// Header: pixels of the height for the title and two lines of marks.
const HEAD: u32 = 100;

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

fn svg(name: &str, samples: &Samples) -> anyhow::Result<String> {
    let last = samples.points.last().map_or(1.0, |point| point.0);
    let most = samples.points.iter().map(|point| point.1).fold(1.0, f64::max);
    let top = (most / 10.0).ceil() * 10.0;
    plot::svg((WIDTH, HEIGHT), |area| {
        let (head, body) = area.split_vertically(HEAD);
        head.draw(&Text::new(
            format!("{name}: resident memory of the server"),
            (AXIS as i32, 8),
            TITLE,
        ))?;
        let mut chart = ChartBuilder::on(&body)
            .margin_left(10)
            .margin_right(130)
            .x_label_area_size(AXIS)
            .y_label_area_size(AXIS - 10)
            .build_cartesian_2d(0.0..last, 0.0..top)?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc("time, s").y_desc("MiB").label_style(FONT).axis_desc_style(FONT);
        mesh.disable_x_mesh()
            .y_label_formatter(&|mib| format!("{mib:.0}"))
            .light_line_style(TRANSPARENT)
            .draw()?;
        for ((seconds, mark), line) in samples.marks.iter().zip([0, 1].into_iter().cycle()) {
            let ends = [(*seconds, 0.0), (*seconds, top)];
            chart.draw_series(LineSeries::new(ends, BLACK.mix(0.4)))?;
            let (x, _) = chart.backend_coord(&ends[0]);
            head.draw(&Text::new(*mark, (x, 44 + 26 * line), FONT))?;
        }
        let line = LineSeries::new(steps(samples, last), RGBColor(0, 102, 204).stroke_width(3));
        chart.draw_series(line)?;
        Ok(())
    })
}

/// The largest sample of each pixel column, as steps, so that a constant stretch is one line.
fn steps(samples: &Samples, last: f64) -> Vec<(f64, f64)> {
    let column = last / f64::from(WIDTH);
    let mut points: Vec<(f64, f64)> = Vec::new();
    let column_of = |point: &(f64, f64)| (point.0 / column).round();
    for samples in samples.points.chunk_by(|a, b| column_of(a) == column_of(b)) {
        let (start, high) = (samples[0].0, samples.iter().map(|one| one.1).fold(0.0, f64::max));
        match points.last() {
            Some(&(_, level)) if level == high => {}
            Some(&(_, level)) => points.extend([(start, level), (start, high)]),
            None => points.push((start, high)),
        }
    }
    points.extend(points.last().map(|&(_, level)| (last, level)));
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_drawn_as_steps_with_its_marks() -> anyhow::Result<()> {
        let points = vec![(0.0, 10.0), (0.001, 12.0), (1.0, 12.0), (2.0, 30.0), (4.0, 30.0)];
        let samples = Samples { points, marks: vec![(1.0, "loaded"), (2.0, "predicting")] };
        let expected = [(0.0, 12.0), (2.0, 12.0), (2.0, 30.0), (4.0, 30.0)];
        assert_eq!(steps(&samples, 4.0), expected);
        let text = svg("A & B", &samples)?;
        for expected in
            ["A &amp; B: resident memory", "MiB", "time, s", "loaded", "predicting", "<polyline"]
        {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        Ok(())
    }
}
