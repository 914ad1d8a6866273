//! External data: tensors of a model that lie in other files of its folder.
//!
//! A location is a path inside the model's folder, as the ONNX standard says; `..` and absolute
//! paths are refused. What lies there may be a symbolic link to anywhere: model caches
//! (Hugging Face's `blobs`) and mounted volumes (Kubernetes' `..data`) are made of them, and whoever
//! can write links into the folder can write the model.

use crate::file::open_file;
use crate::skeleton::ExternalData;
use crate::{Error, FileFault};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Component, Path, PathBuf};
use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{GraphProto, TensorProto};

/// Checks every tensor's file, and makes its location what tract accepts: a path without links,
/// from the returned folder. `None`: there is no folder.
///
/// # Errors
/// [`Error::ExternalData`], with the file's name.
pub(crate) fn resolve(
    graph: &mut GraphProto,
    folder: Option<&Path>,
) -> Result<Option<String>, Error> {
    let mut files = Files { folder, known: HashMap::new() };
    let mut left = vec![graph];
    while let Some(graph) = left.pop() {
        let mut tensors: Vec<&mut TensorProto> = graph.initializer.iter_mut().collect();
        for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
            tensors.extend(attribute.t.as_mut());
            tensors.extend(&mut attribute.tensors);
            left.extend(attribute.g.as_mut());
            left.extend(&mut attribute.graphs);
        }
        for tensor in tensors {
            if tensor.data_location == Some(DataLocation::External as i32) {
                resolve_one(tensor, &mut files)?;
            }
        }
    }
    Ok(if cfg!(unix) {
        Some("/".to_owned())
    } else {
        folder.and_then(Path::to_str).map(str::to_owned)
    })
}

/// Opens the files that these tensors lie in: by location, the path without links and the file.
///
/// # Errors
/// [`Error::ExternalData`], with the file's name.
pub(crate) fn open_all(
    tensors: &[ExternalData],
    folder: Option<&Path>,
) -> Result<BTreeMap<String, (PathBuf, File)>, Error> {
    let mut files = Files { folder, known: HashMap::new() };
    tensors.iter().try_for_each(|tensor| files.path(tensor).map(|_| ()))?;
    Ok(files.known.into_iter().map(|(name, known)| (name, (known.path, known.file))).collect())
}

/// Makes the location a path from the root, without links.
fn resolve_one(tensor: &mut TensorProto, files: &mut Files<'_>) -> Result<(), Error> {
    let entries = tensor.external_data.iter();
    let entries = entries.map(|entry| (entry.key.clone(), entry.value.clone())).collect();
    let path = files.path(&ExternalData { tensor: tensor.name.clone(), entries })?;
    if let Some(path) = path.to_str().filter(|_| cfg!(unix)) {
        let location = tensor.external_data.iter_mut().filter(|entry| entry.key == "location");
        location.for_each(|entry| path.trim_start_matches('/').clone_into(&mut entry.value));
    }
    Ok(())
}

/// The files of a folder that were opened, by location.
struct Files<'a> {
    folder: Option<&'a Path>,
    known: HashMap<String, Known>,
}

struct Known {
    /// Without links.
    path: PathBuf,
    file: File,
    size: u64,
}

impl Files<'_> {
    /// The file that holds a tensor, which must be long enough.
    fn path(&mut self, tensor: &ExternalData) -> Result<PathBuf, Error> {
        let value = |name: &str| {
            let entry = tensor.entries.iter().find(|(key, _)| key == name);
            entry.map(|(_, value)| value.as_str())
        };
        let location = value("location").unwrap_or_default();
        let refuse = |reason: String| Error::ExternalData {
            location: location.chars().take(200).collect(),
            tensor: tensor.tensor.chars().take(80).collect(),
            reason,
        };
        let number = |name: &str| match value(name).map(str::parse::<u64>) {
            None => Ok(0),
            Some(Ok(number)) => Ok(number),
            Some(Err(_)) => Err(refuse(format!("its {name} is not a number"))),
        };
        let (start, length) = (number("offset")?, number("length")?);
        if !self.known.contains_key(location) {
            let found = open(location, self.folder).map_err(&refuse)?;
            self.known.insert(location.to_owned(), found);
        }
        let Known { path, size, .. } = &self.known[location];
        match start.checked_add(length) {
            Some(end) if end <= *size => Ok(path.clone()),
            _ => Err(refuse(format!(
                "it has {size} bytes, and {length} from {start} on are needed: was it cut short?"
            ))),
        }
    }
}

/// Opens the file at this location.
fn open(location: &str, folder: Option<&Path>) -> Result<Known, String> {
    let folder = folder.ok_or("the model is in no folder")?;
    let relative = Path::new(location);
    let is_inside = !location.is_empty()
        && relative
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !is_inside {
        return Err("the location must be inside the model's folder, without \"..\"".to_owned());
    }
    let path = folder.join(relative);
    let file = open_file(&path).map_err(|fault| match fault {
        FileFault::Unreadable(error) => format!("cannot read {}: {error}", path.display()),
        fault => fault.to_string(),
    })?;
    let path = path.canonicalize().map_err(|error| error.to_string())?;
    // The location that tract is given is text.
    path.to_str().ok_or("its path is not UTF-8")?;
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    Ok(Known { path, file, size })
}
