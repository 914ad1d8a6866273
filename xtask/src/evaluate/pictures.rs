//! Index of the pictures of a folder.

use anyhow::{Context, ensure};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const KINDS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"];

/// Every picture of a folder, recursively, by its name without the extension.
pub(crate) fn index(folder: &Path) -> anyhow::Result<HashMap<String, PathBuf>> {
    let mut found = HashMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if let (Some(stem), Some(kind)) = (path.file_stem(), path.extension())
                && KINDS.iter().any(|known| kind.eq_ignore_ascii_case(known))
            {
                let stem = stem.to_string_lossy().into_owned();
                let other = found.insert(stem.clone(), path);
                ensure!(other.is_none(), "two pictures are named {stem}");
            }
        }
    }
    ensure!(!found.is_empty(), "{} holds no picture", folder.display());
    Ok(found)
}
