//! Open model: the files of a model, opened together and held open, so that all that is read of them
//! later belongs together.
//!
//! A file that is moved, removed or replaced by another one stays readable through its handle. One
//! that is overwritten in place does not: that is found by its stamp, then by its digest, and
//! [`Error::Changed`] says so before anything of it is used.

use crate::digest::{Digest, Hasher};
use crate::external_data::open_all;
use crate::file::{ModelFile, open_model};
use crate::skeleton::external_data;
use crate::source::{EMBEDDED_MANIFEST, open_manifest, parse_manifest};
use crate::{Error, Manifest};
use derm_engine::Bytes;
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How often a model is opened anew when its path leads elsewhere meanwhile.
const ATTEMPTS: usize = 10;

/// A model whose files are held open.
#[derive(Debug)]
pub struct OpenModel {
    contents: Contents,
    manifest: Arc<Manifest>,
    manifest_text: String,
    seen: Mutex<Seen>,
    /// Held while the contents are verified, so that they are read once.
    verifying: Mutex<()>,
    superseded: AtomicBool,
}

enum Contents {
    /// The graph's file, then those of its external data; and where the manifest was, if that was a file.
    Files {
        parts: Vec<Part>,
        manifest: Option<PathBuf>,
    },
    Embedded(&'static [u8]),
}

/// A file that is held open.
struct Part {
    path: PathBuf,
    /// The same without symbolic links, when it was opened.
    canonical: PathBuf,
    file: File,
}

/// What was found when the contents were verified last.
#[derive(Debug, Clone)]
struct Seen {
    stamps: Vec<Stamp>,
    /// `None` until they were read once.
    digest: Option<Digest>,
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = match self {
            Contents::Files { parts, .. } => &parts[..],
            Contents::Embedded(_) => &[],
        };
        f.debug_list().entries(parts.iter().map(|part| &part.path)).finish()
    }
}

impl OpenModel {
    /// Opens the files at these paths. Where one of the paths leads elsewhere before all are open (a
    /// symbolic link was switched), all are opened anew.
    pub(crate) fn files(model: &Path, manifest: &Path) -> Result<OpenModel, Error> {
        let mut attempt = 1;
        loop {
            let (file, text) = open_manifest(manifest, model)?;
            let parsed = parse_manifest(&text, manifest)?;
            let opened = open_parts(model, Some(manifest), parsed, text)?;
            if opened.is_in_place() && leads_to(manifest, &file) {
                return Ok(opened);
            }
            if attempt == ATTEMPTS {
                return Err(Error::Changed { path: model.to_owned() });
            }
            attempt += 1;
        }
    }

    /// Opens the files at this path, of a model whose manifest is a text.
    pub(crate) fn described(model: &Path, manifest: &str) -> Result<OpenModel, Error> {
        let parsed = parse_manifest(manifest, model)?;
        open_parts(model, None, parsed, manifest.to_owned())
    }

    pub(crate) fn embedded(model: &'static [u8], manifest: &str) -> Result<OpenModel, Error> {
        let parsed = parse_manifest(manifest, Path::new(EMBEDDED_MANIFEST))?;
        Ok(OpenModel::new(Contents::Embedded(model), parsed, manifest.to_owned(), Vec::new()))
    }

    fn new(
        contents: Contents,
        manifest: Manifest,
        manifest_text: String,
        stamps: Vec<Stamp>,
    ) -> OpenModel {
        OpenModel {
            contents,
            manifest: Arc::new(manifest),
            manifest_text,
            seen: Mutex::new(Seen { stamps, digest: None }),
            verifying: Mutex::default(),
            superseded: AtomicBool::new(false),
        }
    }

    /// The manifest as it was when the model was opened.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// SHA-256 of the graph's file, the manifest, and the files of external data by name, one after
    /// the other. Contents that were read once are read again only where their stamps have changed.
    ///
    /// # Errors
    /// [`Error::Changed`]: the contents are not those that were opened; [`Error::Read`].
    pub fn verify(&self) -> Result<Digest, Error> {
        // Guards no value.
        let _alone = self.verifying.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = self.seen().clone();
        let now = self.stamps()?;
        match seen.digest {
            Some(digest) if now == seen.stamps => return Ok(digest),
            None => self.compare(&now, &seen)?,
            Some(_) => {}
        }
        let digest = self.hash()?;
        if self.stamps()? != now || seen.digest.is_some_and(|known| known != digest) {
            return Err(self.changed());
        }
        *self.seen() = Seen { stamps: now, digest: Some(digest) };
        Ok(digest)
    }

    /// Verifies what can be verified before the contents are used: while they were never read, there is no digest to
    /// compare theirs with, only their stamps. [`OpenModel::verify`] may run meanwhile.
    fn verify_before_use(&self) -> Result<(), Error> {
        let seen = self.seen().clone();
        match seen.digest {
            None => self.compare(&self.stamps()?, &seen),
            Some(_) => self.verify().map(drop),
        }
    }

    /// Compares stamps with those seen, as far as they tell of the contents.
    fn compare(&self, now: &[Stamp], seen: &Seen) -> Result<(), Error> {
        let is_same = now.iter().zip(&seen.stamps).all(|(now, then)| now.same_content(then));
        if is_same { Ok(()) } else { Err(self.changed()) }
    }

    fn changed(&self) -> Error {
        Error::Changed { path: self.path() }
    }

    /// Bytes of the graph's file and those of its external data.
    pub fn file_bytes(&self) -> u64 {
        match &self.contents {
            Contents::Embedded(bytes) => bytes.len() as u64,
            Contents::Files { parts, .. } => {
                let length = |part: &Part| part.file.metadata().map_or(0, |found| found.len());
                parts.iter().map(length).sum()
            }
        }
    }

    /// Whether the model can be loaded again from what is held open.
    pub fn is_intact(&self) -> bool {
        // tract finds external data by path.
        let external = self.parts().iter().skip(1);
        self.verify().is_ok()
            && external
                .map(|part| (part.path.canonicalize().ok(), &part.canonical))
                .all(|(now, then)| now.as_ref() == Some(then))
    }

    /// Whether the paths led to other files, or to none, when the model was loaded last.
    pub fn is_superseded(&self) -> bool {
        self.superseded.load(Relaxed)
    }

    /// The bytes of the graph's file, verified. Whoever reads them first verifies them afterwards, too.
    pub(crate) fn map(&self) -> Result<ModelFile, Error> {
        self.verify_before_use()?;
        match &self.contents {
            Contents::Embedded(bytes) => Ok(ModelFile::Embedded(bytes)),
            Contents::Files { parts, manifest } => {
                self.superseded.store(!self.is_at(manifest.as_deref()), Relaxed);
                ModelFile::map(&parts[0].file, &parts[0].path)
            }
        }
    }

    /// Appends bytes of a file of external data that is held open; `None` where that is not one of them.
    pub(crate) fn external(&self, path: &Path) -> Option<Result<ModelFile, Error>> {
        let part = self.parts().iter().skip(1).find(|part| part.canonical == path)?;
        Some(ModelFile::map(&part.file, &part.path))
    }

    /// The folder of the graph's file.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.parts().first().and_then(|part| part.path.parent())
    }

    /// Whether the paths still lead to these files. The manifest is compared by its text.
    fn is_at(&self, manifest: Option<&Path>) -> bool {
        let is_same = |path| std::fs::read_to_string(path).is_ok_and(|t| t == self.manifest_text);
        self.is_in_place() && manifest.is_none_or(is_same)
    }

    /// Whether the paths of graph and weights still lead to these files.
    fn is_in_place(&self) -> bool {
        self.parts().iter().all(|part| leads_to(&part.path, &part.file))
    }

    fn parts(&self) -> &[Part] {
        match &self.contents {
            Contents::Files { parts, .. } => parts,
            Contents::Embedded(_) => &[],
        }
    }

    fn path(&self) -> PathBuf {
        self.parts().first().map_or_else(PathBuf::new, |part| part.path.clone())
    }

    fn stamps(&self) -> Result<Vec<Stamp>, Error> {
        self.parts().iter().map(Part::stamp).collect()
    }

    fn hash(&self) -> Result<Digest, Error> {
        let mut hasher = Hasher::default();
        match &self.contents {
            Contents::Embedded(bytes) => {
                hasher.add_mapped(&ModelFile::Embedded(bytes));
                hasher.add(self.manifest_text.as_bytes());
            }
            Contents::Files { parts, .. } => {
                for (index, part) in parts.iter().enumerate() {
                    hasher.add_file(&part.file).map_err(|source| unreadable(&part.path, source))?;
                    if index == 0 {
                        hasher.add(self.manifest_text.as_bytes());
                    }
                }
            }
        }
        Ok(hasher.finish())
    }

    /// What was seen is replaced as a whole, so a poisoned lock is usable.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the graph and its weights.
fn open_parts(
    model: &Path,
    manifest_path: Option<&Path>,
    manifest: Manifest,
    text: String,
) -> Result<OpenModel, Error> {
    let graph = Part::graph(model)?;
    // Before anything is read of it.
    let mut stamps = vec![graph.stamp()?];
    let tensors = {
        let mapped = ModelFile::map(&graph.file, model)?;
        let tensors = external_data(mapped.bytes());
        mapped.release(0..mapped.bytes().len());
        tensors?
    };
    let mut parts = vec![graph];
    let folder = model.parent().unwrap_or(Path::new(""));
    for (name, (canonical, file)) in open_all(&tensors, Some(folder))? {
        let part = Part { path: folder.join(name), canonical, file };
        stamps.push(part.stamp()?);
        parts.push(part);
    }
    let contents = Contents::Files { parts, manifest: manifest_path.map(Path::to_owned) };
    Ok(OpenModel::new(contents, manifest, text, stamps))
}

fn unreadable(path: &Path, source: std::io::Error) -> Error {
    Error::Read { path: path.to_owned(), source }
}

impl Part {
    fn graph(path: &Path) -> Result<Part, Error> {
        let file = open_model(path)?;
        let canonical = path.canonicalize().map_err(|source| unreadable(path, source))?;
        Ok(Part { path: path.to_owned(), canonical, file })
    }

    fn stamp(&self) -> Result<Stamp, Error> {
        let metadata = self.file.metadata().map_err(|source| unreadable(&self.path, source))?;
        Ok(Stamp::of(&metadata))
    }
}

/// Whether a path leads to this file.
fn leads_to(path: &Path, file: &File) -> bool {
    let both = std::fs::metadata(path).and_then(|there| Ok((there, file.metadata()?)));
    both.is_ok_and(|(there, held)| Stamp::of(&there).same_file(&Stamp::of(&held)))
}

/// What the system says of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    /// Device and inode.
    file: (u64, u64),
    length: u64,
    /// Seconds and nanoseconds of the last change of the content, and of anything else, its name
    /// included.
    modified: (i64, i64),
    touched: (i64, i64),
}

impl Stamp {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Stamp {
        use std::os::unix::fs::MetadataExt;
        Stamp {
            file: (metadata.dev(), metadata.ino()),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            touched: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    #[cfg(not(unix))]
    fn of(metadata: &Metadata) -> Stamp {
        let modified = metadata.modified().ok();
        let since = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let since = since.unwrap_or_default();
        let modified = (since.as_secs() as i64, i64::from(since.subsec_nanos()));
        Stamp { file: (0, 0), length: metadata.len(), modified, touched: modified }
    }

    fn same_file(&self, other: &Stamp) -> bool {
        self.file == other.file
    }

    /// Whether the content is the same, as far as a stamp tells.
    fn same_content(&self, other: &Stamp) -> bool {
        (self.file, self.length, self.modified) == (other.file, other.length, other.modified)
    }
}
