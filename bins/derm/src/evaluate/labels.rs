//! Labels: CSV files of labels and splits.

use anyhow::{Context, bail};
use derm::Manifest;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;

/// A labelled picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    /// Name of its file, without the extension.
    pub image: String,
    /// Index of its class in the manifest.
    pub truth: usize,
    /// Pictures of one group (a lesion) are not independent: the bootstrap resamples groups.
    pub group: String,
    /// Metadata: age group, sex, body site.
    pub about: BTreeMap<&'static str, String>,
}

/// Reads labels: `image_id,dx[,lesion_id,age,sex,localization]` as HAM10000 has them, or one column
/// for each class as ISIC 2018 Task 3 does (`image,MEL,NV,...`, 1.0 in the right one).
pub fn read(path: &Path, manifest: &Manifest) -> anyhow::Result<Vec<Labelled>> {
    let (mut reader, columns) = open(path)?;
    let image =
        columns.any(&["image_id", "image"]).context("there is no column image_id or image")?;
    let label = columns.any(&["dx", "label", "class"]);
    let one_hot: Vec<Option<usize>> =
        manifest.classes.iter().map(|class| columns.index(&class.id)).collect();
    if label.is_none() && one_hot.iter().any(Option::is_none) {
        bail!("{}: neither a column dx, label or class, nor one for each class", path.display());
    }
    let mut found = Vec::new();
    for record in reader.records() {
        let record = record?;
        let name = record[image].to_owned();
        let truth = match label {
            Some(label) => manifest
                .class_index(&record[label])
                .with_context(|| format!("{name}: the model has no class {:?}", &record[label]))?,
            None => one_hot
                .iter()
                .position(|&index| index.is_some_and(|index| record[index].parse() == Ok(1.0)))
                .with_context(|| format!("{name}: no class has a 1"))?,
        };
        let value = |names: &[&str]| columns.any(names).map(|index| record[index].to_owned());
        let group = value(&["lesion_id"]).filter(|group| !group.is_empty());
        let mut about = BTreeMap::new();
        let age = value(&["age", "age_approx"]).filter(|age| !age.is_empty());
        about.extend(age.map(|age| ("age", age_group(&age))));
        about.extend(value(&["sex"]).map(|sex| ("sex", sex)));
        about.extend(value(&["localization"]).map(|site| ("body site", site)));
        found.push(Labelled {
            group: group.unwrap_or_else(|| name.clone()),
            image: name,
            truth,
            about,
        });
    }
    Ok(found)
}

fn age_group(age: &str) -> String {
    let groups = [(30.0, "0-29"), (45.0, "30-44"), (60.0, "45-59"), (75.0, "60-74")];
    let Ok(age) = age.parse::<f64>() else { return "unknown".to_owned() };
    groups.iter().find(|(end, _)| age < *end).map_or("75 and more", |(_, name)| name).to_owned()
}

/// Keeps the pictures of one part of a split file (`lesion_id,part` or `image_id,part`).
pub fn keep_part(
    labelled: Vec<Labelled>,
    split: &Path,
    part: &str,
) -> anyhow::Result<Vec<Labelled>> {
    let (mut reader, columns) = open(split)?;
    let by_lesion = columns.index("lesion_id");
    let key = by_lesion.or_else(|| columns.any(&["image_id", "image"]));
    let key = key.context("the split has no column lesion_id or image_id")?;
    let of = columns.index("part").context("the split has no column part")?;
    let mut parts = HashMap::new();
    for record in reader.records() {
        let record = record?;
        parts.insert(record[key].to_owned(), record[of].to_owned());
    }
    let mut kept = Vec::new();
    for one in labelled {
        let key = if by_lesion.is_some() { &one.group } else { &one.image };
        let found = parts.get(key).with_context(|| format!("{key} is in no part of the split"))?;
        if found == part {
            kept.push(one);
        }
    }
    if kept.is_empty() {
        bail!("no labelled picture is in part {part:?}");
    }
    Ok(kept)
}

fn open(path: &Path) -> anyhow::Result<(csv::Reader<File>, Columns)> {
    let mut reader = csv::Reader::from_path(path).with_context(|| path.display().to_string())?;
    let columns = Columns(reader.headers()?.clone());
    Ok((reader, columns))
}

struct Columns(csv::StringRecord);

impl Columns {
    fn index(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|column| column.trim().eq_ignore_ascii_case(name))
    }

    fn any(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|name| self.index(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "name = \"m\"\noutput = \"logits\"\n[input]\nheight = 8\nwidth = 8\n\
                            [[classes]]\nid = \"mel\"\n[[classes]]\nid = \"nv\"\n";

    fn read_text(text: &str) -> anyhow::Result<Vec<Labelled>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("labels.csv");
        std::fs::write(&path, text)?;
        read(&path, &Manifest::parse(MANIFEST).map_err(anyhow::Error::msg)?)
    }

    #[test]
    fn ham10000_and_isic_formats_are_read() -> anyhow::Result<()> {
        let ham = read_text("lesion_id,image_id,dx,age,sex\nL,a,nv,31.0,male\nL,b,mel,,\n")?;
        assert_eq!((ham[0].truth, ham[1].truth), (1, 0));
        assert_eq!((ham[0].group.as_str(), ham[0].about["age"].as_str()), ("L", "30-44"));
        assert!(!ham[1].about.contains_key("age"));
        let isic = read_text("image,MEL,NV\na,0.0,1.0\nb,1.0,0.0\n")?;
        assert_eq!((isic[0].truth, isic[1].truth, isic[1].group.as_str()), (1, 0, "b"));
        Ok(())
    }

    #[test]
    fn errors_name_the_column_or_picture() {
        for (text, named) in [
            ("image_id,dx\na,wart\n", "wart"),
            ("picture,dx\na,nv\n", "image_id"),
            ("image,MEL\na,1.0\n", "class"),
            ("image,MEL,NV\na,0.0,0.0\n", "a"),
        ] {
            let error = read_text(text).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
