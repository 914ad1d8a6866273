//! Tensors: what a user has preprocessed.

use numpy::PyUntypedArrayMethods;
use numpy::{PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// A batch of inputs of a graph, `[batch, ...]`, float32 and contiguous; NumPy's own memory where it has
/// that form.
pub(crate) struct Tensors<'py> {
    array: PyReadonlyArrayDyn<'py, f32>,
    /// With the batch's axis.
    shape: Vec<usize>,
    /// Whether the array had that axis.
    pub(crate) is_batch: bool,
}

impl<'py> Tensors<'py> {
    /// Reads what NumPy makes an array of numbers of: `[batch, a, b, c]`, or `[a, b, c]` of one.
    pub(crate) fn read(tensor: &Bound<'py, PyAny>) -> PyResult<Tensors<'py>> {
        let py = tensor.py();
        let numpy = py.import("numpy")?;
        // Conversion of complex numbers or text would warn or fail late.
        let array = numpy.call_method1("asarray", (tensor,))?;
        let kind: String = array.getattr("dtype")?.getattr("kind")?.extract()?;
        if !["f", "i", "u", "b"].contains(&kind.as_str()) {
            let dtype = array.getattr("dtype")?;
            return Err(PyTypeError::new_err(format!("a tensor is of numbers, not of {dtype}")));
        }
        let keywords = PyDict::new(py);
        keywords.set_item("dtype", "float32")?;
        let array = numpy.call_method("ascontiguousarray", (array,), Some(&keywords))?;
        let array = array.cast_into::<PyArrayDyn<f32>>()?.readonly();
        let is_batch = array.shape().len() == 4;
        let mut shape = array.shape().to_vec();
        if shape.len() == 3 {
            shape.insert(0, 1);
        }
        if shape.len() != 4 || shape.contains(&0) {
            return Err(PyValueError::new_err(format!(
                "a tensor is [batch, channels, rows, columns] (or [batch, rows, columns, channels]), not {:?}",
                array.shape()
            )));
        }
        Ok(Tensors { array, shape, is_batch })
    }

    /// `[batch, a, b, c]`.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values of each input.
    pub(crate) fn values(&self) -> PyResult<Vec<&[f32]>> {
        let values = self.array.as_slice()?;
        let each = self.shape[1..].iter().product();
        Ok(values.chunks_exact(each).collect())
    }

    /// The values of the only input.
    pub(crate) fn single(&self) -> PyResult<&[f32]> {
        match self.shape[0] {
            1 => Ok(self.array.as_slice()?),
            batch => Err(PyValueError::new_err(format!(
                "an explanation is of one input, and this is a batch of {batch}"
            ))),
        }
    }
}
