//! The documents: blocks of code, and code within the text.

use crate::surroundings::root;
use std::path::Path;

/// Languages of blocks that are read by people or by other tests only.
const OTHERS: [&str; 6] = ["csv", "js", "json", "rust", "text", "toml"];

/// A Markdown file.
pub(crate) struct Page {
    /// Relative to the repository.
    pub(crate) path: String,
    pub(crate) blocks: Vec<Block>,
    /// Code within the text and lines of indented blocks, without line breaks.
    pub(crate) spans: Vec<String>,
}

/// A fenced block of code.
pub(crate) struct Block {
    pub(crate) language: String,
    pub(crate) source: String,
}

/// All documents, sorted by path.
pub(crate) fn pages() -> Vec<Page> {
    let mut found = Vec::new();
    let root = root();
    for pattern in ["", "docs", "benches", "deploy", "xtask", "bins/*", "crates/*", "models/*"] {
        let folders: Vec<_> = match pattern.strip_suffix("/*") {
            None => vec![root.join(pattern)],
            Some(parent) => children(&root.join(parent)),
        };
        let files = folders.iter().flat_map(|folder| children(folder));
        for file in files.filter(|file| file.extension().is_some_and(|end| end == "md")) {
            let path = file.strip_prefix(&root).unwrap().display().to_string();
            found.push(parse(path, &std::fs::read_to_string(&file).unwrap()));
        }
    }
    assert!(found.len() > 25, "{} documents", found.len());
    found
}

fn children(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = folder.read_dir() else { return Vec::new() };
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn parse(path: String, text: &str) -> Page {
    let mut page = Page { path, blocks: Vec::new(), spans: Vec::new() };
    for (number, part) in text.split("```").enumerate() {
        if number % 2 == 0 {
            page.spans.extend(part.split("\n\n").flat_map(spans));
            continue;
        }
        let (language, source) = part.split_once('\n').unwrap();
        let known = ["sh", "python"].contains(&language) || OTHERS.contains(&language);
        assert!(known, "{}: a block of {language:?}", page.path);
        page.blocks.push(Block { language: language.into(), source: source.into() });
    }
    page
}

/// Code within a paragraph, or the lines of one that is indented, which is code.
fn spans(paragraph: &str) -> Vec<String> {
    let in_one_line = |code: &str| code.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_code = paragraph.lines().all(|line| line.is_empty() || line.starts_with("    "));
    if is_code {
        return paragraph.lines().map(in_one_line).collect();
    }
    // A stray backquote spoils no more than its paragraph.
    paragraph.split('`').skip(1).step_by(2).map(in_one_line).collect()
}
