//! What is asked of an explanation: Python's arguments as the library's.

use derm::{Colormap, Drawing, Explain, Layer, Method, Scale, Size};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Every colour map.
pub(crate) const COLORMAPS: [Colormap; 4] =
    [Colormap::Jet, Colormap::Viridis, Colormap::Inferno, Colormap::Turbo];

/// The argument `classes`.
pub(crate) struct Classes {
    names: Vec<String>,
    /// Whether they came as a list, so that a list of explanations is the answer.
    pub(crate) is_list: bool,
}

/// How heatmaps are drawn; `None` as the explanation was asked for.
#[derive(Default)]
pub(crate) struct Style {
    pub(crate) colormap: Option<String>,
    pub(crate) alpha: Option<f32>,
    pub(crate) contour: Option<f32>,
}

impl Classes {
    /// Reads an id or index, several, or none.
    pub(crate) fn read(classes: Option<&Bound<'_, PyAny>>) -> PyResult<Classes> {
        let Some(classes) = classes else {
            return Ok(Classes { names: Vec::new(), is_list: false });
        };
        if let Ok(name) = named(classes) {
            return Ok(Classes { names: vec![name], is_list: false });
        }
        let expected = "classes is an id, an index, or a list of them";
        let each = classes.try_iter().map_err(|_| PyTypeError::new_err(expected))?;
        let names = each.map(|one| named(&one?)).collect::<PyResult<Vec<String>>>()?;
        if names.is_empty() {
            return Err(PyValueError::new_err("classes is an empty list"));
        }
        Ok(Classes { names, is_list: true })
    }
}

/// An id, or an index as text.
fn named(class: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(name) = class.extract::<String>() {
        return Ok(name);
    }
    let expected = || PyTypeError::new_err("a class or layer is named by a string or its index");
    let index: i64 = class.extract().map_err(|_| expected())?;
    Ok(index.to_string())
}

/// The argument `layer`.
fn layer(layer: Option<&Bound<'_, PyAny>>) -> PyResult<Layer> {
    layer.map_or(Ok(Layer::Last), |layer| Ok(Layer::Named(named(layer)?)))
}

/// The request of these arguments; what is drawn is drawn later.
pub(crate) fn explain(
    method: &str,
    classes: &Classes,
    at: Option<&Bound<'_, PyAny>>,
    scale: &str,
    style: &Style,
) -> PyResult<Explain> {
    let explain = Explain::new(parsed::<Method>("method", method)?)
        .with_classes(classes.names.iter().cloned())
        .with_layer(layer(at)?)
        .with_scale(parsed::<Scale>("scale", scale)?)
        .with_drawing(Drawing::Json);
    styled(explain, style)
}

/// The same, drawn in this style.
pub(crate) fn styled(mut explain: Explain, style: &Style) -> PyResult<Explain> {
    let share = |name: &str, value: f32| match (0.0..=1.0).contains(&value) {
        true => Ok(value),
        false => Err(PyValueError::new_err(format!("{name} must be in 0..=1, not {value}"))),
    };
    if let Some(colormap) = &style.colormap {
        explain = explain.with_colormap(parsed("colormap", colormap)?);
    }
    if let Some(alpha) = style.alpha {
        explain = explain.with_alpha(share("alpha", alpha)?);
    }
    if let Some(contour) = style.contour {
        explain = explain.with_contour(share("contour", contour)?);
    }
    Ok(explain)
}

/// The argument `drawing`: one that is made of pixels.
pub(crate) fn drawing(name: &str) -> PyResult<Drawing> {
    match parsed("drawing", name)? {
        Drawing::Json | Drawing::Npy => Err(PyValueError::new_err(
            "drawing must be \"overlay\", \"heatmap\" or \"mask\"; the values are in heatmap",
        )),
        drawing => Ok(drawing),
    }
}

/// The argument `size`.
pub(crate) fn size(name: &str) -> PyResult<Size> {
    parsed("size", name)
}

/// The value of this name.
fn parsed<'a, T: Deserialize<'a>>(parameter: &str, name: &'a str) -> PyResult<T> {
    T::deserialize(StrDeserializer::<ValueError>::new(name))
        .map_err(|error| PyValueError::new_err(format!("{parameter}: {error}")))
}

/// The names of these values.
pub(crate) fn names(values: &[impl Serialize]) -> Vec<String> {
    values.iter().map(|value| Name(value).to_string()).collect()
}

/// A value by its name, as serde has it.
struct Name<T>(T);

impl<T: Serialize> fmt::Display for Name<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.serialize(f)
    }
}
