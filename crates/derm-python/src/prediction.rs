//! A prediction: the probabilities of one input.

use crate::model::Model;
use derm::{Report, Uncertainty};
use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The classes of one picture or tensor.
#[pyclass(module = "onnx_gradcam", frozen)]
pub(crate) struct Prediction {
    report: Report,
}

impl Prediction {
    pub(crate) fn new(report: Report) -> Prediction {
        Prediction { report }
    }

    /// The probability of the class with this index of the model.
    pub(crate) fn probability_of(&self, index: usize) -> f32 {
        let found = self.report.predictions.iter().find(|prediction| prediction.index == index);
        found.map_or(f32::NAN, |prediction| prediction.probability)
    }

    /// The model that made it.
    pub(crate) fn made_by(&self) -> Model {
        let manifest = std::sync::Arc::clone(&self.report.manifest);
        Model { manifest, digest: Some(self.report.digest) }
    }
}

#[pymethods]
impl Prediction {
    /// Probabilities, float32 `[classes]`, in the order of `Model.classes`.
    #[getter]
    fn probabilities<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f32>> {
        let classes = 0..self.report.predictions.len();
        PyArray1::from_iter(py, classes.map(|index| self.probability_of(index)))
    }

    /// The graph's own output (logits, for most models), float32 `[classes]`.
    #[getter]
    fn scores<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f32>> {
        PyArray1::from_slice(py, &self.report.scores)
    }

    /// Pairs of class id and probability, the most probable first.
    #[getter]
    fn ranking(&self) -> Vec<(&str, f32)> {
        let all = self.report.predictions.iter();
        all.map(|prediction| (prediction.class.as_str(), prediction.probability)).collect()
    }

    /// Id of the most probable class.
    #[getter]
    fn class_id(&self) -> &str {
        &self.report.predictions[0].class
    }

    /// Index of the most probable class.
    #[getter]
    fn class_index(&self) -> usize {
        self.report.predictions[0].index
    }

    /// Probability of the most probable class, 0..1.
    #[getter]
    fn probability(&self) -> f32 {
        self.report.predictions[0].probability
    }

    /// Id of the class with the largest `probability * decision_weight` of the manifest; `None` where the classes do
    /// not exclude each other.
    #[getter]
    fn decision(&self) -> Option<&str> {
        self.report.decision.as_ref().map(|decision| decision.class.as_str())
    }

    /// Ids of the classes whose probability reaches their threshold, the most probable first.
    #[getter]
    fn flagged(&self) -> Vec<&str> {
        self.report.flagged.iter().map(|prediction| prediction.class.as_str()).collect()
    }

    /// Out-of-distribution score: how far the picture is from the training data; `None` where the model cannot tell.
    #[getter]
    fn ood_score(&self) -> Option<f32> {
        self.report.uncertain.map(|uncertainty| uncertainty.score)
    }

    /// Whether `ood_score` is above the model's threshold, so that the probabilities mean nothing; `None` where the model
    /// cannot tell.
    #[getter]
    fn uncertain(&self) -> Option<bool> {
        self.report.uncertain.as_ref().map(Uncertainty::is_uncertain)
    }

    /// Width and height of the upright picture, pixels.
    #[getter]
    fn size(&self) -> (u32, u32) {
        self.report.size
    }

    /// What is wrong with the picture, though it was decoded.
    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.report.warnings.iter().map(ToString::to_string).collect()
    }

    /// The model that made the prediction.
    #[getter]
    fn model(&self) -> Model {
        self.made_by()
    }

    /// The probabilities as a dictionary from class id to float, in the order of `Model.classes`.
    fn as_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (index, class) in self.report.manifest.classes.iter().enumerate() {
            dict.set_item(&class.id, self.probability_of(index))?;
        }
        Ok(dict)
    }

    fn __repr__(&self) -> String {
        let shown = self.ranking();
        let mut text: Vec<String> =
            shown.iter().take(3).map(|(class, p)| format!("{class} {p:.3}")).collect();
        text.extend((shown.len() > 3).then(|| "...".to_owned()));
        format!("Prediction({})", text.join(", "))
    }
}
