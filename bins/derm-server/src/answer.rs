//! The answer of a prediction: the fields of docs/api.md.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use derm::{
    Digest, ExplainError, Explanation, MapRange, Prediction, Region, Rendering, Report, Timings,
    Uncertainty,
};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// Shown with every result.
const DISCLAIMER: &str =
    "A screening aid for education and research, never a diagnosis. See a physician.";

/// The answer. `results` and `heatmap` are the original application's.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Prediction))]
pub(crate) struct Answer {
    pub(crate) results: Vec<Class>,
    /// The class with the largest probability times decision weight; null: the classes do not
    /// exclude each other.
    pub(crate) decision: Option<Class>,
    /// The classes whose probability reaches their threshold, whatever `top_k` is.
    pub(crate) flagged: Vec<Class>,
    /// Whether the picture is out of distribution; null: the model cannot tell.
    pub(crate) uncertain: Option<bool>,
    /// The score and threshold behind that.
    #[cfg_attr(test, schema(value_type = Option<crate::openapi::Uncertainty>))]
    ood: Option<Uncertainty>,
    /// Base64 PNG, or NumPy file, of the first class that is explained.
    pub(crate) heatmap: Option<String>,
    /// The range of the map behind it, before it was scaled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = Option<crate::openapi::MapRange>, nullable = false))]
    heatmap_range: Option<MapRange>,
    /// Each class that is explained, if there are several or values were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schema(required = false))]
    heatmaps: Vec<Heatmap>,
    /// Why there is no heatmap although one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(nullable = false))]
    pub(crate) heatmap_error: Option<String>,
    /// The class that the heatmap explains.
    explained_class: Option<String>,
    picture: Size,
    /// What is wrong with the picture, though it was decoded, or with a heatmap: one sentence each.
    pub(crate) warnings: Vec<String>,
    /// The part of the upright picture that the network sees, as fractions of its width and height.
    #[cfg_attr(test, schema(value_type = crate::openapi::Region))]
    region: Region,
    model: Model,
    disclaimer: &'static str,
    /// Milliseconds by step.
    pub(crate) latency_ms: Latency,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = ClassProbability))]
pub(crate) struct Class {
    pub(crate) class: String,
    pub(crate) label: String,
    /// In percent.
    pub(crate) probability: f64,
}

/// A heatmap of one class.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Heatmap {
    class: String,
    /// As [`Answer::heatmap`]; null for `output=json`.
    heatmap: Option<String>,
    /// The range of the map before it was scaled.
    #[cfg_attr(test, schema(value_type = crate::openapi::MapRange))]
    range: MapRange,
    /// For `output=json`: rows of the layer's positions, 0..=1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(nullable = false))]
    values: Option<Vec<Vec<f32>>>,
}

impl Heatmap {
    pub(crate) fn of(explanation: Explanation) -> Heatmap {
        let (class, range) = (explanation.class, explanation.heatmap.range());
        match explanation.rendering {
            Rendering::Png(file) | Rendering::Npy(file) => {
                Heatmap { class, heatmap: Some(STANDARD.encode(&file)), range, values: None }
            }
            Rendering::None => {
                let values = explanation.heatmap.values();
                let rows = values.outer_iter().map(|row| row.to_vec()).collect();
                Heatmap { class, heatmap: None, range, values: Some(rows) }
            }
        }
    }
}

/// What a client should know of a map that is nearly constant, which its scale may hide.
fn low_contrast(heatmap: &Heatmap) -> Option<String> {
    let contrast = heatmap.range.contrast();
    let class = &heatmap.class;
    (contrast < MapRange::LOW_CONTRAST).then(|| {
        if contrast == 0.0 {
            return format!("the heatmap of {class} is the same everywhere: it shows nothing");
        }
        let percent = contrast * 100.0;
        format!(
            "the heatmap of {class} varies by {percent:.1} % of its largest value only: a hot spot in \
             it means little"
        )
    })
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = PictureSize))]
struct Size {
    width: u32,
    height: u32,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = ModelVersion))]
struct Model {
    name: String,
    version: String,
    /// SHA-256 of the model's files.
    #[cfg_attr(test, schema(value_type = String))]
    digest: Digest,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Latency {
    decode: f64,
    load: f64,
    infer: f64,
    gradcam: f64,
    render: f64,
    pub(crate) total: f64,
}

impl Answer {
    /// `language` is that of the labels; `insisted`: a heatmap was asked for explicitly.
    pub(crate) fn new(report: Report, language: &str, insisted: bool) -> Answer {
        let manifest = Arc::clone(&report.manifest);
        let class = |prediction: &Prediction| Class {
            class: prediction.class.clone(),
            label: manifest.classes[prediction.index].label_in(language).to_owned(),
            probability: (f64::from(prediction.probability) * 1e6).round() / 1e4,
        };
        let classes = |predictions: &[Prediction]| predictions.iter().map(class).collect();
        let (explanations, heatmap_error) = match report.explanations {
            Some(Ok(explanations)) => (explanations, None),
            Some(Err(reason)) => (Vec::new(), Some(unexplained(&reason))),
            None if insisted => {
                let reason = "heatmaps are switched off on this server (ENABLE_GRADCAM)";
                (Vec::new(), Some(reason.to_owned()))
            }
            None => (Vec::new(), None),
        };
        let heatmaps: Vec<Heatmap> = explanations.into_iter().map(Heatmap::of).collect();
        let picture = report.warnings.iter().map(ToString::to_string);
        let warnings = picture.chain(heatmaps.iter().filter_map(low_contrast)).collect();
        let first = heatmaps.first();
        Answer {
            results: classes(&report.predictions),
            decision: report.decision.as_ref().map(class),
            flagged: classes(&report.flagged),
            uncertain: report.uncertain.map(|known| known.is_uncertain()),
            ood: report.uncertain,
            heatmap: first.and_then(|first| first.heatmap.clone()),
            heatmap_range: first.map(|first| first.range),
            heatmap_error,
            explained_class: first.map(|first| first.class.clone()),
            // One heatmap is not sent twice.
            heatmaps: if heatmaps.len() > 1 || heatmaps.iter().any(|h| h.values.is_some()) {
                heatmaps
            } else {
                Vec::new()
            },
            picture: Size { width: report.size.0, height: report.size.1 },
            region: report.region,
            warnings,
            model: Model {
                name: manifest.name.clone(),
                version: manifest.version.clone(),
                digest: report.digest,
            },
            disclaimer: DISCLAIMER,
            latency_ms: Latency::of(report.timings),
        }
    }
}

/// Why there is no heatmap, as clients are told. The text of a failure may be a panic's.
pub(crate) fn unexplained(reason: &ExplainError) -> String {
    match reason {
        ExplainError::Failed(text) => {
            tracing::error!(error = text, "explanation");
            "the explanation failed; it has been logged".to_owned()
        }
        reason => reason.to_string(),
    }
}

impl Latency {
    fn of(timings: Timings) -> Latency {
        let ms = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
        let Timings { decode, load, infer, gradcam, render } = timings;
        Latency {
            decode: ms(decode),
            load: ms(load),
            infer: ms(infer),
            gradcam: ms(gradcam),
            render: ms(render),
            total: ms(decode + load + infer + gradcam + render),
        }
    }

    /// <https://www.w3.org/TR/server-timing/>
    pub(crate) fn server_timing(&self) -> String {
        let Latency { decode, load, infer, gradcam, render, .. } = self;
        format!(
            "decode;dur={decode}, load;dur={load}, infer;dur={infer}, \
             gradcam;dur={gradcam}, render;dur={render}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_failed_explanation_does_not_reach_the_client() {
        let failed = unexplained(&ExplainError::Failed("index out of bounds".to_owned()));
        assert_eq!(failed, "the explanation failed; it has been logged");
        let none = ExplainError::NoSpatialLayer;
        assert_eq!(unexplained(&none), none.to_string());
    }

    #[test]
    fn a_map_that_is_nearly_constant_is_reported() {
        let of = |min: f32, max: f32| {
            let (class, range) = ("mel".to_owned(), MapRange { min, max });
            low_contrast(&Heatmap { class, heatmap: None, range, values: None })
        };
        let warning = of(0.97, 1.0).unwrap();
        assert!(warning.contains("mel") && warning.contains("3.0 %"), "{warning}");
        assert!(of(-1.0, -0.95).is_some());
        let none = of(0.0, 0.0).unwrap();
        assert!(none.contains("same everywhere"), "{none}");
        for (min, max) in [(0.0, 1e-9), (0.9, 1.01), (-1.0, 1.0)] {
            assert_eq!(of(min, max), None, "{min}..{max}");
        }
    }
}
