//! Sink: records as a table, as CSV, or as JSON Lines.

use super::record::Record;
use anyhow::Context;
use console::{Term, style};
use derm::Manifest;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// For a person: the most probable class, and what is to be noted.
    Table,
    Csv,
    JsonLines,
}

/// The columns of CSV before those of the classes.
const COLUMNS: [&str; 8] =
    ["picture", "class", "probability", "decision", "flagged", "uncertain", "ood_score", "error"];

pub(super) struct Sink {
    format: Format,
    out: Box<dyn Write>,
    labels: Vec<String>,
    /// Columns of the terminal for the picture's name.
    width: usize,
}

/// The file, or standard output. With `append` what it holds stays.
pub(super) fn open(path: Option<&Path>, append: bool) -> anyhow::Result<Box<dyn Write>> {
    let Some(path) = path else { return Ok(Box::new(io::stdout())) };
    let mut options = OpenOptions::new();
    options.create(true).write(true).append(append).truncate(!append);
    let file = options.open(path).with_context(|| path.display().to_string())?;
    Ok(Box::new(BufWriter::new(file)))
}

impl Sink {
    /// `header`: CSV begins with the names of its columns.
    pub(super) fn new(
        out: Box<dyn Write>,
        format: Format,
        manifest: &Manifest,
        header: bool,
    ) -> anyhow::Result<Sink> {
        let label = |class: &derm::Class| class.label_in("en").to_owned();
        let labels = manifest.classes.iter().map(label).collect();
        let width = Term::stdout().size().1.saturating_sub(44).clamp(16, 60).into();
        let mut sink = Sink { format, out, labels, width };
        if header && format == Format::Csv {
            let classes = manifest.classes.iter().map(|class| class.id.clone());
            sink.write_fields(COLUMNS.map(str::to_owned).into_iter().chain(classes))?;
        }
        Ok(sink)
    }

    pub(super) fn write(&mut self, record: &Record) -> anyhow::Result<()> {
        match self.format {
            Format::Csv => self.write_csv(record)?,
            Format::JsonLines => writeln!(self.out, "{}", serde_json::to_string(record)?)?,
            Format::Table => self.write_row(record)?,
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn write_csv(&mut self, record: &Record) -> anyhow::Result<()> {
        let mut probabilities = vec![String::new(); self.labels.len()];
        for one in &record.results {
            probabilities[one.index] = one.probability.to_string();
        }
        let first = record.results.first();
        let fixed = [
            record.picture.to_string_lossy().into_owned(),
            first.map(|one| one.class.clone()).unwrap_or_default(),
            first.map(|one| one.probability.to_string()).unwrap_or_default(),
            record.decision.clone().unwrap_or_default(),
            record.flagged.join(";"),
            record.uncertain.map(|known| known.to_string()).unwrap_or_default(),
            record.ood_score.map(|score| score.to_string()).unwrap_or_default(),
            record.error.clone().unwrap_or_default(),
        ];
        self.write_fields(fixed.into_iter().chain(probabilities))
    }

    fn write_fields(&mut self, fields: impl Iterator<Item = String>) -> anyhow::Result<()> {
        let mut row = csv::Writer::from_writer(&mut self.out);
        row.write_record(fields)?;
        Ok(row.flush()?)
    }

    /// A row of the table: picture, most probable class, percent, what is to be noted. What could not be read is named on
    /// standard error.
    fn write_row(&mut self, record: &Record) -> io::Result<()> {
        let Some(first) = record.results.first() else { return Ok(()) };
        let name = record.picture.to_string_lossy();
        let name = shortened(&name, self.width);
        let (label, percent) = (&self.labels[first.index], 100.0 * first.probability);
        let mut notes = Vec::new();
        if record.uncertain == Some(true) {
            notes.push(style("uncertain: not like the training pictures".to_owned()).yellow());
        }
        if let Some(decision) = record.decision.as_ref().filter(|found| **found != first.class) {
            notes.push(style(format!("decision: {decision}")).bold());
        }
        if !record.flagged.is_empty() {
            notes.push(style(format!("flagged: {}", record.flagged.join(", "))).yellow());
        }
        notes.extend(record.warnings.iter().map(|warning| style(warning.clone()).dim()));
        let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
        let width = self.width;
        writeln!(self.out, "{name:<width$}  {percent:5.1} %  {label}  {}", notes.join(", "))
    }
}

/// The end of a text that is wider than a column, after an ellipsis.
fn shortened(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().skip(length + 1 - width).collect();
    format!("…{kept}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_keeps_its_end() {
        assert_eq!(shortened("pictures/a.jpg", 14), "pictures/a.jpg");
        assert_eq!(shortened("pictures/a.jpg", 6), "…a.jpg");
    }
}
