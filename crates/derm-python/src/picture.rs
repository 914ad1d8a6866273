//! Pictures: paths, bytes, NumPy arrays and images of Pillow.

use crate::error::{from_derm, from_io};
use derm::{Limits, Picture};
use numpy::{PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyByteArray, PyBytes, PyList, PyMemoryView, PyString, PyTuple};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A picture as Python gave it, which keeps the memory that [`Source`] reads.
pub(crate) enum Given<'py> {
    Path(PathBuf),
    Bytes(PyBackedBytes),
    Pixels(PyReadonlyArrayDyn<'py, u8>),
}

/// Where the bytes of a picture are; other threads may read it.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// A file.
    Path(&'a Path),
    /// A file's bytes.
    Bytes(&'a [u8]),
    /// Samples `[rows, columns, channels]`, and (width, height).
    Pixels { size: (u32, u32), channels: usize, samples: &'a [u8] },
}

/// One picture, or several.
pub(crate) struct Pictures<'py> {
    pub(crate) all: Vec<Given<'py>>,
    /// Whether they came as a list.
    pub(crate) is_list: bool,
}

impl<'py> Pictures<'py> {
    /// Reads one picture, a list or tuple of them, or an array `[pictures, rows, columns, channels]`.
    pub(crate) fn read(pictures: &Bound<'py, PyAny>) -> PyResult<Pictures<'py>> {
        let is_array =
            pictures.cast::<numpy::PyUntypedArray>().is_ok_and(|array| array.ndim() == 4);
        let is_list =
            is_array || pictures.is_instance_of::<PyList>() || pictures.is_instance_of::<PyTuple>();
        let all = if is_list {
            let each = pictures.try_iter()?.enumerate();
            each.map(|(number, one)| {
                Given::read(&one?).map_err(|error| numbered(pictures.py(), number, error))
            })
            .collect::<PyResult<Vec<_>>>()?
        } else {
            vec![Given::read(pictures)?]
        };
        Ok(Pictures { all, is_list })
    }
}

/// The error of one picture of a list.
pub(crate) fn numbered(py: Python<'_>, number: usize, error: PyErr) -> PyErr {
    // An OSError has the file's name.
    if error.is_instance_of::<PyValueError>(py) || error.is_instance_of::<PyTypeError>(py) {
        let text = format!("picture {number}: {}", error.value(py));
        let kind = error.get_type(py);
        return kind.call1((text,)).map_or_else(|error| error, PyErr::from_value);
    }
    error
}

impl<'py> Given<'py> {
    /// Reads a picture; no file is opened and nothing is decoded by this.
    pub(crate) fn read(picture: &Bound<'py, PyAny>) -> PyResult<Given<'py>> {
        let py = picture.py();
        if picture.is_instance_of::<PyString>() || picture.hasattr("__fspath__")? {
            return Ok(Given::Path(picture.extract()?));
        }
        if picture.is_instance_of::<PyBytes>() || picture.is_instance_of::<PyByteArray>() {
            return Ok(Given::Bytes(picture.extract()?));
        }
        if picture.is_instance_of::<PyMemoryView>() {
            return Ok(Given::Bytes(picture.call_method0("tobytes")?.extract()?));
        }
        if picture.hasattr("convert")? && picture.hasattr("getbands")? {
            return Given::pixels(&of_pillow(picture)?);
        }
        if picture.hasattr("__array__")? {
            let numpy = py.import("numpy")?;
            return Given::pixels(&numpy.call_method1("asarray", (picture,))?);
        }
        Err(PyTypeError::new_err(format!(
            "a picture is a path, bytes, a NumPy array or an image of Pillow, not {}",
            picture.get_type().name()?
        )))
    }

    fn pixels(array: &Bound<'py, PyAny>) -> PyResult<Given<'py>> {
        let Ok(typed) = array.cast::<PyArrayDyn<u8>>() else {
            return Err(PyTypeError::new_err(format!(
                "a picture's array holds uint8, not {}: preprocessed tensors go to predict_tensor and \
                 explain_tensor",
                array.getattr("dtype")?
            )));
        };
        let (is_picture, shape) = match *typed.shape() {
            [_, _] => (true, typed.shape()),
            [_, _, channels] => ((1..=4).contains(&channels), typed.shape()),
            _ => (false, typed.shape()),
        };
        if !is_picture {
            let last = shape.len() == 3 && (1..=4).contains(&shape[0]);
            return Err(PyValueError::new_err(format!(
                "a picture's array is [rows, columns, channels] with 1 to 4 channels, not {shape:?}{}",
                if last { ": transpose(1, 2, 0) puts the channels last" } else { "" }
            )));
        }
        if typed.is_c_contiguous() {
            return Ok(Given::Pixels(typed.readonly()));
        }
        let copied = array.py().import("numpy")?.call_method1("ascontiguousarray", (array,))?;
        Ok(Given::Pixels(copied.cast_into::<PyArrayDyn<u8>>()?.readonly()))
    }

    /// Where its bytes are.
    pub(crate) fn source(&self) -> PyResult<Source<'_>> {
        Ok(match self {
            Given::Path(path) => Source::Path(path),
            Given::Bytes(bytes) => Source::Bytes(bytes),
            Given::Pixels(array) => {
                let shape = array.shape();
                let side = |side: usize| {
                    u32::try_from(side)
                        .map_err(|_| PyValueError::new_err("the picture is too large"))
                };
                Source::Pixels {
                    size: (side(shape[1])?, side(shape[0])?),
                    channels: shape.get(2).copied().unwrap_or(1),
                    samples: array.as_slice()?,
                }
            }
        })
    }
}

/// The pixels of an image of Pillow, upright, as a file of it would be read.
fn of_pillow<'py>(image: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = image.py();
    let mode: String = image.getattr("mode")?.extract()?;
    if mode.starts_with('I') || mode == "F" {
        return Err(PyValueError::new_err(format!(
            "an image of mode {mode} has no range that is known: convert it to \"L\" or \"RGB\""
        )));
    }
    let image = py.import("PIL.ImageOps")?.call_method1("exif_transpose", (image,))?;
    let has_alpha = mode.ends_with('A')
        || mode.ends_with('a')
        || image.getattr("info")?.contains("transparency")?;
    let target = match mode.as_str() {
        "L" | "RGB" if !has_alpha => mode.as_str(),
        _ if has_alpha => "RGBA",
        _ => "RGB",
    };
    let converted =
        if target == mode { image } else { image.call_method1("convert", (target,))? };
    py.import("numpy")?.call_method1("asarray", (converted,))
}

impl<'a> Source<'a> {
    /// Opens the picture: its header is read, nothing is decoded.
    pub(crate) fn open(self, limits: &Limits) -> PyResult<Picture<'a>> {
        let picture = match self {
            Source::Path(path) => Picture::open(read(path, limits)?, limits),
            Source::Bytes(bytes) => Picture::open(bytes, limits),
            Source::Pixels { size, channels, samples } => {
                Picture::of_pixels(size, channels, samples, limits)
            }
        };
        picture.map_err(|error| self.named(error.into()))
    }

    /// The exception of an error; one of a file's content names the file.
    pub(crate) fn named(self, error: derm::Error) -> PyErr {
        match (self, &error) {
            (Source::Path(path), derm::Error::Picture(reason)) => {
                PyValueError::new_err(format!("{}: {reason}", path.display()))
            }
            _ => from_derm(error),
        }
    }
}

/// The bytes of a picture's file, which is not read beyond the limit.
fn read(path: &Path, limits: &Limits) -> PyResult<Vec<u8>> {
    let unreadable = |error| from_io(&error, path);
    // A FIFO would have it wait for ever.
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(PyValueError::new_err(format!("{} is not a regular file", path.display())));
    }
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::with_capacity((metadata.len() as usize).min(limits.max_bytes) + 1);
    file.take(limits.max_bytes as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}
