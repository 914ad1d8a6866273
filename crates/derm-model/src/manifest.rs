//! Manifest, `model.toml`: what an ONNX file does not say about itself.

use derm_preprocess::Spec;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

/// The manifest of a classifier. `docs/model-manifest.md` shows one with every key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name of the model.
    pub name: String,
    /// Version of the weights.
    #[serde(default)]
    pub version: String,
    /// Origin of the weights: data, method, authors.
    #[serde(default)]
    pub provenance: String,
    /// License of the weights, as they are distributed; `licence` is read, too.
    #[serde(default, alias = "licence", skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Whether a server of several models keeps it in memory once it is loaded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// What the graph's output is.
    pub output: Output,
    /// Name of the graph's value that holds the scores; `None`: the output that fits the classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_name: Option<String>,
    /// Temperature: logits are divided by it before softmax, so that probabilities are calibrated
    /// (Guo et al. 2017, arXiv:1706.04599).
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub temperature: f32,
    /// Out-of-distribution detection; `None`: the model has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncertain: Option<Uncertain>,
    /// The graph's input, and how a picture is preprocessed for it.
    pub input: Spec,
    /// The classes, in the order of the output.
    pub classes: Vec<Class>,
}

/// An out-of-distribution score that the graph computes beside its classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uncertain {
    /// Name of the graph's value: one number, larger for what is less like the training pictures.
    pub output: String,
    /// A score above this means: out of distribution.
    pub threshold: f32,
}

fn one() -> f32 {
    1.0
}

fn is_one(value: &f32) -> bool {
    *value == 1.0
}

/// One class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Short name, as the API gives it.
    pub id: String,
    /// Readable names by language (`en`, `vi`, ...).
    #[serde(default)]
    pub label: BTreeMap<String, String>,
    /// Probability (0..=1) from which on the class is flagged, whatever its rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f32>,
    /// Decision weight: what it costs to miss this class, relative to the others. The decision is the
    /// class with the largest `probability * decision_weight`, which is the one of least expected cost
    /// (Elkan 2001, "The Foundations of Cost-Sensitive Learning"); no probability changes.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub decision_weight: f32,
}

/// What the graph's output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Output {
    /// Unnormalised scores of exclusive classes; softmax turns them into probabilities.
    Logits,
    /// Probabilities of exclusive classes.
    Softmax,
    /// Probabilities of classes that do not exclude each other.
    Sigmoid,
}

const MAX_CLASSES: usize = 10_000;

impl Manifest {
    /// Reads TOML.
    ///
    /// # Errors
    /// A line that says what is wrong, and where.
    pub fn parse(text: &str) -> Result<Manifest, String> {
        let manifest: Manifest = toml::from_str(text).map_err(|error| {
            let message = error.message().replace('\n', " ");
            // A table that lacks a key spans the whole of it: its first line says nothing.
            let line =
                error.span().filter(|span| span.start > 0).and_then(|span| text.get(..span.start));
            let line = line.map(|before| 1 + before.matches('\n').count());
            line.map_or(message.clone(), |line| format!("line {line}: {message}"))
        })?;
        match manifest.problem() {
            Some(problem) => Err(problem),
            None => Ok(manifest),
        }
    }

    fn problem(&self) -> Option<String> {
        if let Some(problem) = self.input.problem() {
            return Some(format!("[input]: {problem}"));
        }
        let fewest = if self.output == Output::Sigmoid { 1 } else { 2 };
        if !(fewest..=MAX_CLASSES).contains(&self.classes.len()) {
            return Some(format!(
                "there must be 2..={MAX_CLASSES} [[classes]] (or one, for output = \"sigmoid\")"
            ));
        }
        let temperature = self.temperature;
        if !(temperature.is_finite() && temperature > 0.0) {
            return Some("temperature must be a number above 0".to_owned());
        }
        if temperature != 1.0 && self.output != Output::Logits {
            return Some("temperature is for output = \"logits\" only".to_owned());
        }
        if self.uncertain.as_ref().is_some_and(|uncertain| !uncertain.threshold.is_finite()) {
            return Some("[uncertain]: threshold must be a number".to_owned());
        }
        let mut ids = HashSet::new();
        for class in &self.classes {
            if class.id.is_empty() || !ids.insert(&class.id) {
                return Some(format!("class id {:?} is empty or there twice", class.id));
            }
            if class.threshold.is_some_and(|threshold| !(0.0..=1.0).contains(&threshold)) {
                return Some(format!("class {:?}: threshold must be in 0..=1", class.id));
            }
            let weight = class.decision_weight;
            if !(weight.is_finite() && weight > 0.0) {
                return Some(format!("class {:?}: decision_weight must be above 0", class.id));
            }
            if weight != 1.0 && self.output == Output::Sigmoid {
                return Some(
                    "decision_weight is for exclusive classes, not for sigmoid".to_owned(),
                );
            }
        }
        None
    }

    /// Probabilities (0..=1) of the graph's scores, `[classes]`; they sum to 1 unless the output is
    /// [`Output::Sigmoid`].
    pub fn probabilities(&self, scores: &[f32]) -> Vec<f32> {
        match self.output {
            Output::Softmax | Output::Sigmoid => scores.to_vec(),
            Output::Logits => softmax(scores, self.temperature),
        }
    }

    /// Decision: the index of the class with the largest `probability * decision_weight`; `None` for
    /// [`Output::Sigmoid`], whose classes do not exclude each other, and where a probability is NaN.
    pub fn decision(&self, probabilities: &[f32]) -> Option<usize> {
        if self.output == Output::Sigmoid || probabilities.iter().any(|p| p.is_nan()) {
            return None;
        }
        let weighted = probabilities.iter().zip(&self.classes).map(|(p, c)| p * c.decision_weight);
        // Of equal ones the first, as in the ranking of the probabilities.
        let best = weighted.enumerate().reduce(|best, one| if one.1 > best.1 { one } else { best });
        best.map(|(index, _)| index)
    }

    /// Why these scores, `[classes]`, cannot be what `output` says, if they cannot: probabilities
    /// are from 0 to 1, and those of exclusive classes sum to 1. NaN says nothing of that.
    pub fn contradiction(&self, scores: &[f32]) -> Option<String> {
        // Graphs of float16, and sums of 10,000 classes, are that inexact.
        const INEXACT: f32 = 0.02;
        let sum: f32 = scores.iter().sum();
        let is_outside = scores.iter().any(|score| !(-INEXACT..=1.0 + INEXACT).contains(score));
        let (kind, is_wrong) = match self.output {
            Output::Logits => return None,
            Output::Softmax => ("softmax", is_outside || (sum - 1.0).abs() > INEXACT),
            Output::Sigmoid => ("sigmoid", is_outside),
        };
        (is_wrong && !sum.is_nan()).then(|| {
            let shown = &scores[..scores.len().min(4)];
            format!(
                "output = \"{kind}\", but for an input of zeros the graph computes {shown:?}{}, which sum to {sum}: \
                 does it end in logits?",
                if scores.len() > 4 { " and others" } else { "" }
            )
        })
    }

    /// Index of the class with this id, or of this number.
    pub fn class_index(&self, name: &str) -> Option<usize> {
        let by_id = self.classes.iter().position(|class| class.id == name);
        by_id.or_else(|| name.parse().ok().filter(|&index| index < self.classes.len()))
    }
}

impl Class {
    /// The readable name in `language`, else in English, else the id.
    pub fn label_in(&self, language: &str) -> &str {
        self.label.get(language).or_else(|| self.label.get("en")).unwrap_or(&self.id)
    }
}

fn softmax(logits: &[f32], temperature: f32) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f32> =
        logits.iter().map(|logit| ((logit - largest) / temperature).exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    exponentials.into_iter().map(|e| e / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "name = \"m\"\noutput = \"logits\"\n[input]\nheight = 8\nwidth = 8\n\
                           [[classes]]\nid = \"a\"\n[[classes]]\nid = \"b\"\nlabel.vi = \"Bê\"\n";

    #[test]
    fn defaults_and_labels() {
        let manifest = Manifest::parse(MINIMAL).unwrap();
        assert_eq!(manifest.input.shape(), [1, 3, 8, 8]);
        assert_eq!(manifest.classes[1].label_in("vi"), "Bê");
        assert_eq!(manifest.classes[1].label_in("en"), "b");
        assert_eq!(manifest.class_index("b"), Some(1));
        assert_eq!(manifest.class_index("0"), Some(0));
        assert_eq!(manifest.class_index("2"), None);
    }

    #[test]
    fn probabilities_sum_to_one_even_for_huge_logits() {
        let manifest = Manifest::parse(MINIMAL).unwrap();
        let probabilities = manifest.probabilities(&[1000.0, 999.0, -1000.0]);
        assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((probabilities[0] - 0.731_058_6).abs() < 1e-6);
        let sigmoid = Manifest { output: Output::Sigmoid, ..manifest };
        assert_eq!(sigmoid.probabilities(&[0.9, 0.9]), [0.9, 0.9]);
    }

    #[test]
    fn the_decision_weighs_the_probabilities() {
        let weighted = MINIMAL.replace("id = \"b\"", "id = \"b\"\ndecision_weight = 3.0");
        let (plain, weighted) =
            (Manifest::parse(MINIMAL).unwrap(), Manifest::parse(&weighted).unwrap());
        assert_eq!(plain.decision(&[0.7, 0.3]), Some(0));
        assert_eq!(plain.decision(&[0.5, 0.5]), Some(0), "of equal ones the first");
        assert_eq!(weighted.decision(&[0.7, 0.3]), Some(1));
        assert_eq!(weighted.decision(&[0.8, 0.2]), Some(0));
        assert_eq!(weighted.decision(&[f32::NAN, 0.2]), None);
        let sigmoid = Manifest { output: Output::Sigmoid, ..plain };
        assert_eq!(sigmoid.decision(&[0.7, 0.3]), None);
    }

    #[test]
    fn scores_that_are_no_probabilities_contradict_the_manifest() {
        let with = |output| Manifest { output, ..Manifest::parse(MINIMAL).unwrap() };
        for (output, scores, is_wrong) in [
            (Output::Logits, [5.0, -3.0], false),
            (Output::Softmax, [0.25, 0.75], false),
            (Output::Softmax, [0.9, 0.9], true),
            (Output::Softmax, [2.0, -1.0], true),
            (Output::Sigmoid, [0.9, 0.9], false),
            (Output::Sigmoid, [0.5, -0.5], true),
            (Output::Sigmoid, [f32::NAN, 0.5], false),
        ] {
            assert_eq!(with(output).contradiction(&scores).is_some(), is_wrong, "{scores:?}");
        }
    }

    #[test]
    fn a_temperature_draws_probabilities_together() {
        let warm = MINIMAL.replace("[input]", "temperature = 2.0\n[input]");
        let probabilities = Manifest::parse(&warm).unwrap().probabilities(&[2.0, 0.0]);
        assert!((probabilities[0] - 0.731_058_6).abs() < 1e-6);
    }

    #[test]
    fn the_license_goes_by_both_spellings_and_is_optional() {
        assert_eq!(Manifest::parse(MINIMAL).unwrap().license, None);
        for key in ["license", "licence"] {
            let text = format!("{key} = \"MIT\"\n{MINIMAL}");
            assert_eq!(Manifest::parse(&text).unwrap().license.as_deref(), Some("MIT"));
        }
    }

    #[test]
    fn mistakes_are_named() {
        let broken =
            |from: &str, to: &str| Manifest::parse(&MINIMAL.replace(from, to)).unwrap_err();
        assert!(broken("height = 8", "height = 0").contains("height"));
        assert!(broken("logits", "logit").contains("logit"));
        assert!(broken("id = \"b\"", "id = \"a\"").contains("twice"));
        assert!(broken("width = 8", "width = 8\nstd = [1, 0, 1]").contains("std"));
        assert!(broken("width = 8", "width = 8\nmeen = [1, 0, 1]").contains("meen"));
        assert!(broken("id = \"a\"", "id = \"a\"\nthreshold = 2.0").contains("threshold"));
        assert!(broken("id = \"a\"", "id = \"a\"\ndecision_weight = 0.0").contains("above 0"));
        let sigmoid = MINIMAL.replace("logits", "sigmoid");
        let weighted = sigmoid.replace("id = \"a\"", "id = \"a\"\ndecision_weight = 2.0");
        assert!(Manifest::parse(&weighted).unwrap_err().contains("sigmoid"));
        assert!(broken("[input]", "temperature = 0.0\n[input]").contains("temperature"));
        let both = "output = \"sigmoid\"\ntemperature = 2.0";
        assert!(broken("output = \"logits\"", both).contains("temperature"));
        let nan = "uncertain = { output = \"x\", threshold = nan }\n[input]";
        assert!(broken("[input]", nan).contains("uncertain"));
    }
}
