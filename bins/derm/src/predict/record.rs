//! Record: what is written of one picture.

use derm::{Manifest, Report};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What is written of one picture; `results` is empty where it could not be read.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    #[serde(serialize_with = "lossy")]
    pub(super) picture: PathBuf,
    /// Every class, the most probable first.
    pub(super) results: Vec<Class>,
    /// The class with the largest probability times decision weight.
    pub(super) decision: Option<String>,
    /// The classes whose probability reaches their threshold.
    pub(super) flagged: Vec<String>,
    /// Whether the picture is out of distribution; null: the model cannot tell.
    pub(super) uncertain: Option<bool>,
    pub(super) ood_score: Option<f32>,
    /// What is wrong with the picture, though it was decoded.
    pub(super) warnings: Vec<String>,
    /// Why it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Class {
    pub(super) class: String,
    /// Index of the class in the manifest.
    #[serde(skip)]
    pub(super) index: usize,
    /// 0..=1.
    pub(super) probability: f32,
}

impl Record {
    pub(super) fn new(picture: &Path, report: &Report, manifest: &Manifest) -> Record {
        let id = |index: usize| manifest.classes[index].id.clone();
        Record {
            picture: picture.to_owned(),
            results: report
                .predictions
                .iter()
                .map(|one| Class {
                    class: id(one.index),
                    index: one.index,
                    probability: one.probability,
                })
                .collect(),
            decision: report.decision.as_ref().map(|one| id(one.index)),
            flagged: report.flagged.iter().map(|one| id(one.index)).collect(),
            uncertain: report.uncertain.map(|known| known.is_uncertain()),
            ood_score: report.uncertain.map(|known| known.score),
            warnings: report.warnings.iter().map(ToString::to_string).collect(),
            error: None,
        }
    }

    pub(super) fn unreadable(picture: &Path, error: &anyhow::Error) -> Record {
        Record {
            picture: picture.to_owned(),
            results: Vec::new(),
            decision: None,
            flagged: Vec::new(),
            uncertain: None,
            ood_score: None,
            warnings: Vec::new(),
            error: Some(format!("{error:#}")),
        }
    }
}

/// A path as text; what is no UTF-8 is replaced.
fn lossy<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}
