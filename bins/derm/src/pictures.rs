//! The pictures that a command works on: files, folders, standard input.

use anyhow::{Context, ensure};
use derm::Limits;
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"];

/// The name of standard input.
const STANDARD_INPUT: &str = "-";

/// The arguments that name pictures.
#[derive(Debug, clap::Args)]
pub struct PictureArguments {
    /// Files, folders (searched recursively), or - for a picture on standard input
    #[arg(required = true, value_name = "PICTURE|DIR|-")]
    pub paths: Vec<PathBuf>,
}

/// The pictures that these arguments name, in their order: a file is itself, `-` is standard input, and a folder is every
/// picture in it, recursively, sorted by path; links to folders are followed.
///
/// # Errors
/// A folder cannot be read, or nothing is named.
pub fn find(arguments: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for argument in arguments {
        if !argument.is_dir() {
            found.push(argument.clone());
            continue;
        }
        for entry in WalkDir::new(argument).follow_links(true).sort_by_file_name() {
            let entry = entry?;
            if entry.file_type().is_file() && is_picture(entry.path()) {
                found.push(entry.into_path());
            }
        }
    }
    ensure!(!found.is_empty(), "no picture was found");
    Ok(found)
}

/// Every picture of a folder, recursively, by its name without the extension.
///
/// # Errors
/// The folder cannot be read or holds none; two pictures have the same name.
pub fn index(folder: &Path) -> anyhow::Result<HashMap<String, PathBuf>> {
    let mut index = HashMap::new();
    for path in find(&[folder.to_owned()]).with_context(|| folder.display().to_string())? {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let other = index.insert(stem.clone(), path);
        ensure!(other.is_none(), "two pictures are named {stem}");
    }
    Ok(index)
}

/// The bytes of a picture's file, which is not read beyond the limit.
///
/// # Errors
/// It cannot be read, or has more than [`Limits::max_bytes`].
pub fn read(path: &Path, limits: &Limits) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = limits.max_bytes as u64 + 1;
    if path == Path::new(STANDARD_INPUT) {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    } else {
        std::fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    }
    ensure!(bytes.len() <= limits.max_bytes, "the file has more than {} bytes", limits.max_bytes);
    Ok(bytes)
}

fn is_picture(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_searched_in_order_and_a_file_is_taken_whatever_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("inner")).unwrap();
        for name in ["b.JPG", "a.png", "inner/c.tiff", "notes.txt"] {
            std::fs::write(at(name), b"123456").unwrap();
        }
        let found = find(&[at("notes.txt"), folder.path().to_owned()]).unwrap();
        let names = ["notes.txt", "a.png", "b.JPG", "inner/c.tiff"].map(at);
        assert_eq!(found, names);
        let index = index(folder.path()).unwrap();
        assert_eq!(index["c"], at("inner/c.tiff"));
        assert!(find(&[tempfile::tempdir().unwrap().path().to_owned()]).is_err());

        let small = Limits { max_bytes: 5, ..Limits::default() };
        assert!(read(&at("a.png"), &small).unwrap_err().to_string().contains("more than 5"));
        assert_eq!(read(&at("a.png"), &Limits::default()).unwrap(), b"123456");
    }
}
