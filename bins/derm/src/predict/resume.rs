//! Resume: what an output file has already.

use super::sink::Format;
use anyhow::{Context, ensure};
use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// The pictures that an output file has a record of.
#[derive(Debug, Default)]
pub(super) struct Recorded(HashSet<String>);

impl Recorded {
    pub(super) fn contains(&self, picture: &Path) -> bool {
        self.0.contains(picture.to_string_lossy().as_ref())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads which pictures the file has, and cuts off a last line that an interruption left incomplete. A file that does not
/// exist has none.
pub(super) fn recorded(path: &Path, format: Format) -> anyhow::Result<Recorded> {
    ensure!(format != Format::Table, "--resume goes with --csv or --jsonl");
    if !path.exists() {
        return Ok(Recorded::default());
    }
    let named = || path.display().to_string();
    let file = OpenOptions::new().read(true).write(true).open(path).with_context(named)?;
    let mut reader = BufReader::new(&file);
    let (mut found, mut complete, mut line) = (HashSet::new(), 0, Vec::new());
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            break;
        }
        complete += length as u64;
        found.extend(picture(&line, format).with_context(named)?);
    }
    file.set_len(complete).with_context(named)?;
    Ok(Recorded(found))
}

/// The picture of a line; `None` for the header of CSV.
fn picture(line: &[u8], format: Format) -> anyhow::Result<Option<String>> {
    if format == Format::JsonLines {
        #[derive(serde::Deserialize)]
        struct Named {
            picture: String,
        }
        return Ok(Some(serde_json::from_slice::<Named>(line)?.picture));
    }
    let mut rows = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(line);
    let row = rows.records().next().context("an empty line")??;
    Ok(row.get(0).filter(|first| *first != "picture").map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_records_are_found_and_an_incomplete_one_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        assert!(recorded(&path, Format::Csv).unwrap().is_empty());

        std::fs::write(&path, "picture,class\n\"a,b.jpg\",nv\nc.jpg,me").unwrap();
        let found = recorded(&path, Format::Csv).unwrap();
        assert!(found.contains(Path::new("a,b.jpg")) && !found.contains(Path::new("c.jpg")));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "picture,class\n\"a,b.jpg\",nv\n");

        std::fs::write(&path, "{\"picture\":\"a.jpg\"}\n{\"pic").unwrap();
        assert!(recorded(&path, Format::JsonLines).unwrap().contains(Path::new("a.jpg")));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"picture\":\"a.jpg\"}\n");
        std::fs::write(&path, "no JSON\n").unwrap();
        assert!(recorded(&path, Format::JsonLines).is_err());
        assert!(recorded(&path, Format::Table).is_err());
    }
}
