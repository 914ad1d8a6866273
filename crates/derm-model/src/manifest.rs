//! `model.toml`: what a model's file does not say about itself.

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
    /// Where the weights are from: data, method, authors.
    #[serde(default)]
    pub provenance: String,
    /// Licence of the weights.
    #[serde(default)]
    pub licence: String,
    /// What the graph's output is.
    pub output: Output,
    /// What the graph's input is, and how a picture becomes it.
    pub input: Spec,
    /// The classes, in the order of the output.
    pub classes: Vec<Class>,
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
    /// From this probability (0..=1) on the class should be looked at, whichever is first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f32>,
}

/// What the numbers are that the graph ends in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Output {
    /// Unnormalised scores of exclusive classes: softmax makes probabilities of them.
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
    /// What is wrong, and where.
    pub fn parse(text: &str) -> Result<Manifest, String> {
        let manifest: Manifest = toml::from_str(text).map_err(|error| error.to_string())?;
        match manifest.problem() {
            Some(problem) => Err(problem),
            None => Ok(manifest),
        }
    }

    fn problem(&self) -> Option<String> {
        if let Some(problem) = self.input.problem() {
            return Some(format!("[input]: {problem}"));
        }
        if self.classes.len() < 2 || self.classes.len() > MAX_CLASSES {
            return Some(format!("there must be 2..={MAX_CLASSES} [[classes]]"));
        }
        let mut ids = HashSet::new();
        for class in &self.classes {
            if class.id.is_empty() || !ids.insert(&class.id) {
                return Some(format!("class id {:?} is empty or there twice", class.id));
            }
            if class.threshold.is_some_and(|threshold| !(0.0..=1.0).contains(&threshold)) {
                return Some(format!("class {:?}: threshold must be in 0..=1", class.id));
            }
        }
        None
    }

    /// Place of the class with this id, or at this place written as a number.
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
    fn mistakes_are_named() {
        let broken =
            |from: &str, to: &str| Manifest::parse(&MINIMAL.replace(from, to)).unwrap_err();
        assert!(broken("height = 8", "height = 0").contains("height"));
        assert!(broken("logits", "logit").contains("logit"));
        assert!(broken("id = \"b\"", "id = \"a\"").contains("twice"));
        assert!(broken("width = 8", "width = 8\nstd = [1, 0, 1]").contains("std"));
        assert!(broken("width = 8", "width = 8\nmeen = [1, 0, 1]").contains("meen"));
        assert!(broken("id = \"a\"", "id = \"a\"\nthreshold = 2.0").contains("threshold"));
    }
}
