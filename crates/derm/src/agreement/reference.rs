//! Reference: probabilities that the training code computed, from a CSV file.

use crate::Manifest;
use std::path::{Path, PathBuf};

/// More pictures are not read.
const MAX_PICTURES: usize = 10_000;

/// Pictures with the probabilities that they should have.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// In the order of the file.
    pub pictures: Vec<ReferencePicture>,
}

/// One picture.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferencePicture {
    /// Its file.
    pub path: PathBuf,
    /// `[classes]`, in the manifest's order; 0..=1.
    pub probabilities: Vec<f32>,
}

/// Why a file of probabilities cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}{}: {reason}", .line.map_or(String::new(), |line| format!(", line {line}")))]
pub struct ReferenceError {
    path: PathBuf,
    line: Option<usize>,
    reason: String,
}

impl Reference {
    /// Reads a CSV file: the path of a picture (from the file's folder), then one probability for
    /// each class. A first line without numbers is a header; if it has the ids of all classes, they
    /// say the order of the columns, else it is the manifest's.
    ///
    /// # Errors
    /// The line that is wrong, and how.
    pub fn read(path: &Path, manifest: &Manifest) -> Result<Reference, ReferenceError> {
        let fail = |line: Option<usize>, reason: String| ReferenceError {
            path: path.to_owned(),
            line,
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|error| fail(None, error.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let classes = manifest.classes.len();
        let mut columns: Vec<usize> = (0..classes).collect();
        let mut pictures = Vec::new();
        let lines = text.trim_start_matches('\u{feff}').lines().enumerate();
        for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            let at = |reason: String| fail(Some(number + 1), reason);
            let fields =
                fields(line).ok_or_else(|| at("a quoted field does not end".to_owned()))?;
            let values = &fields[1..];
            let numbers: Option<Vec<f32>> =
                values.iter().map(|value| value.trim().parse().ok()).collect();
            match numbers {
                None if pictures.is_empty()
                    && values.iter().all(|value| value.trim().parse::<f32>().is_err()) =>
                {
                    columns = order(values, manifest).map_err(at)?;
                }
                Some(numbers) if numbers.len() == classes => {
                    if let Some(wrong) =
                        numbers.iter().find(|value| !(-0.001..=1.001).contains(*value))
                    {
                        return Err(at(format!(
                            "{wrong} is not a probability (0 to 1); give probabilities, not logits"
                        )));
                    }
                    let probabilities = columns.iter().map(|&column| numbers[column]).collect();
                    pictures.push(ReferencePicture {
                        path: folder.join(fields[0].trim()),
                        probabilities,
                    });
                }
                _ => {
                    return Err(at(format!(
                        "expected a picture's path and {classes} probabilities, found {} fields",
                        fields.len()
                    )));
                }
            }
            if pictures.len() > MAX_PICTURES {
                return Err(at(format!("more than {MAX_PICTURES} pictures")));
            }
        }
        if pictures.is_empty() {
            return Err(fail(None, "it names no picture".to_owned()));
        }
        Ok(Reference { pictures })
    }
}

/// The column of each class.
fn order(header: &[String], manifest: &Manifest) -> Result<Vec<usize>, String> {
    let column = |id: &str| header.iter().position(|name| name.trim() == id);
    let found: Vec<Option<usize>> =
        manifest.classes.iter().map(|class| column(&class.id)).collect();
    if found.iter().all(Option::is_none) && header.len() == manifest.classes.len() {
        // Other names: the manifest's order.
        return Ok((0..header.len()).collect());
    }
    let missing = manifest.classes.iter().zip(&found).find(|(_, column)| column.is_none());
    match missing {
        Some((class, _)) => Err(format!("the header has no column {:?}", class.id)),
        None => Ok(found.into_iter().flatten().collect()),
    }
}

/// The fields of a line; those in double quotes may hold commas. `None`: a quote is not closed.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut found = vec![String::new()];
    let mut is_quoted = false;
    let mut characters = line.trim_end_matches('\r').chars().peekable();
    while let Some(character) = characters.next() {
        let last = found.last_mut()?;
        match character {
            '"' if is_quoted && characters.peek() == Some(&'"') => {
                characters.next();
                last.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => found.push(String::new()),
            character => last.push(character),
        }
    }
    (!is_quoted).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Reference, String> {
        let manifest = "name = \"m\"\noutput = \"logits\"\n[input]\nheight = 8\nwidth = 8\n\
                        [[classes]]\nid = \"a\"\n[[classes]]\nid = \"b\"\n";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("expected.csv");
        std::fs::write(&path, text).unwrap();
        let manifest = Manifest::parse(manifest).unwrap();
        Reference::read(&path, &manifest).map_err(|error| error.to_string())
    }

    #[test]
    fn with_and_without_a_header() {
        for text in [
            "x.png,0.25,0.75\n",
            "picture,a,b\r\nx.png,0.25,0.75\r\n",
            "file,b,a\nx.png,0.75,0.25",
            "p,one,two\n\"x.png\", 0.25, 0.75",
        ] {
            let found = read(text).unwrap();
            assert_eq!(found.pictures[0].probabilities, [0.25, 0.75], "{text}");
            assert!(found.pictures[0].path.ends_with("x.png"));
        }
        let quoted = read("\"a, \"\"b\"\".png\",0,1").unwrap();
        assert!(quoted.pictures[0].path.ends_with("a, \"b\".png"));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, expected) in [
            ("", "no picture"),
            ("picture,a,b\n", "no picture"),
            ("x.png,0.25\n", "line 1"),
            ("x.png,0.5,0.5\ny.png,0.5,nothing\n", "line 2"),
            ("x.png,3.5,-1\n", "not a probability"),
            ("x.png,nan,0\n", "not a probability"),
            ("picture,a,c\nx.png,0,1", "no column \"b\""),
            ("\"x.png,0,1\n", "quoted"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(expected), "{text:?}: {message}");
        }
    }
}
