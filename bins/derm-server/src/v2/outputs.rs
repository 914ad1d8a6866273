//! Outputs of an inference: which are asked for, their values picture by picture, and their form in
//! the answer.

use super::input::{Asked, AskedOutput};
use super::types::{InferResponse, OutputData, OutputParameters, ResponseOutput};
use crate::error::ApiError;
use crate::excerpt::quoted;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use derm::{Drawing, Explain, Manifest, Output, Report, Request};
use std::collections::BTreeMap;

/// What an output holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Probabilities,
    Logits,
    Label,
    OodScore,
    Heatmap,
    Overlay,
}

const KINDS: [(&str, Kind); 6] = [
    ("probabilities", Kind::Probabilities),
    ("logits", Kind::Logits),
    ("label", Kind::Label),
    ("ood_score", Kind::OodScore),
    ("heatmap", Kind::Heatmap),
    ("overlay", Kind::Overlay),
];

/// An output that is answered.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    name: &'static str,
    kind: Kind,
    is_binary: bool,
    /// How many of the largest values come as classes.
    classes: Option<usize>,
}

/// The outputs that are answered, in the order of asking.
#[derive(Debug, Clone)]
pub(crate) struct Outputs(Vec<Wanted>);

/// The value of one output of one picture.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Numbers of this shape.
    Floats(Vec<usize>, Vec<f32>),
    /// One text or file.
    Bytes(Vec<u8>),
    /// Texts.
    Texts(Vec<String>),
}

impl Outputs {
    /// Those that a request asks for, or the usual ones.
    ///
    /// # Errors
    /// [`ApiError::BadRequest`]: the model does not have one of them.
    pub(crate) fn new(asked: &Asked, manifest: &Manifest) -> Result<Outputs, ApiError> {
        let has = |kind| match kind {
            Kind::Logits => manifest.output == Output::Logits,
            Kind::OodScore => manifest.uncertain.is_some(),
            _ => true,
        };
        let wanted = |output: &AskedOutput| {
            let found = KINDS.iter().find(|(name, kind)| *name == output.name && has(*kind));
            let Some(&(name, kind)) = found else {
                let names: Vec<&str> =
                    KINDS.iter().filter(|(_, kind)| has(*kind)).map(|(name, _)| *name).collect();
                let (name, names) = (quoted(&output.name), names.join(", "));
                let message = format!("the model has no output {name}; it has {names}");
                return Err(ApiError::BadRequest(message));
            };
            let classes = output.classification.filter(|&count| count > 0);
            if classes.is_some() && !matches!(kind, Kind::Probabilities | Kind::Logits) {
                let message =
                    format!("the output {name} has no classes; `classification` needs some");
                return Err(ApiError::BadRequest(message));
            }
            let most = manifest.classes.len();
            let classes = classes.map(|count| usize::try_from(count).unwrap_or(most).min(most));
            let is_binary = output.is_binary.unwrap_or(asked.is_binary);
            Ok(Wanted { name, kind, is_binary, classes })
        };
        let usual = [Kind::Probabilities, Kind::Label, Kind::OodScore];
        let outputs = match &asked.outputs {
            Some(outputs) => outputs.iter().map(wanted).collect::<Result<Vec<_>, _>>()?,
            None => KINDS
                .iter()
                .filter(|(_, kind)| usual.contains(kind) && has(*kind))
                .map(|&(name, kind)| Wanted {
                    name,
                    kind,
                    is_binary: asked.is_binary,
                    classes: None,
                })
                .collect(),
        };
        Ok(Outputs(outputs))
    }

    /// Whether a heatmap has to be computed.
    pub(crate) fn need_explanation(&self) -> bool {
        self.0.iter().any(|wanted| matches!(wanted.kind, Kind::Heatmap | Kind::Overlay))
    }

    /// Whether one has to be drawn.
    pub(crate) fn need_overlay(&self) -> bool {
        self.0.iter().any(|wanted| wanted.kind == Kind::Overlay)
    }

    /// The explanation, drawn only if that is asked for.
    pub(crate) fn explain(&self, explain: Explain) -> Explain {
        explain.with_drawing(if self.need_overlay() { Drawing::Overlay } else { Drawing::Json })
    }

    /// Bytes that the outputs of one picture take in memory and in the answer at most. The default
    /// layer has at most a quarter of the input's rows and columns.
    pub(crate) fn bytes_of_one(&self, manifest: &Manifest, request: &Request) -> u64 {
        /// Characters of a number, and its place in the answer.
        const NUMBER: u64 = 24;
        let pixels = u64::from(manifest.input.width) * u64::from(manifest.input.height);
        let classes = manifest.classes.len() as u64;
        let label = manifest.classes.iter().map(|class| class.id.len()).max().unwrap_or(0) as u64;
        let explain = request.explain.as_ref();
        let is_at_last = explain.is_none_or(|explain| !explain.needs_own_plan());
        let of = |wanted: &Wanted| match wanted.kind {
            Kind::Probabilities | Kind::Logits if wanted.classes.is_some() => {
                classes * (label + 4 * NUMBER)
            }
            Kind::Probabilities | Kind::Logits => classes * NUMBER,
            Kind::Label => 2 * label + 4 * NUMBER,
            Kind::OodScore => NUMBER,
            Kind::Heatmap if is_at_last => pixels / 16 * NUMBER,
            Kind::Heatmap => pixels * NUMBER,
            // A PNG of three bytes a pixel, in memory and in base64.
            Kind::Overlay => pixels * 3 * 5 / 2,
        };
        self.0.iter().map(of).sum()
    }

    /// The values of one picture.
    ///
    /// # Errors
    /// [`ApiError::Parameter`]: it cannot be explained.
    pub(crate) fn values(&self, report: Report) -> Result<Vec<Value>, ApiError> {
        let explanation = match &report.explanations {
            Some(Ok(explanations)) => explanations.first(),
            Some(Err(reason)) => {
                let (name, reason) = ("heatmap".to_owned(), crate::answer::unexplained(reason));
                return Err(ApiError::Parameter { name, reason });
            }
            None => None,
        };
        let manifest = &report.manifest;
        let mut probabilities = vec![0.0; manifest.classes.len()];
        report.predictions.iter().for_each(|one| probabilities[one.index] = one.probability);
        let value = |wanted: &Wanted| {
            let scores = match wanted.kind {
                Kind::Probabilities => &probabilities,
                Kind::Logits => &report.scores,
                Kind::Label => {
                    let first = report.predictions.first().map(|one| one.class.clone());
                    return Value::Bytes(first.unwrap_or_default().into_bytes());
                }
                Kind::OodScore => {
                    let score = report.uncertain.map_or(f32::NAN, |uncertain| uncertain.score);
                    return Value::Floats(Vec::new(), vec![score]);
                }
                Kind::Heatmap => {
                    let Some(explanation) = explanation else { return Value::Bytes(Vec::new()) };
                    let values = explanation.heatmap.values();
                    let (rows, columns) = values.dim();
                    return Value::Floats(vec![rows, columns], values.iter().copied().collect());
                }
                Kind::Overlay => {
                    let file = explanation.and_then(|explanation| explanation.rendering.file());
                    return Value::Bytes(file.unwrap_or_default().to_vec());
                }
            };
            match wanted.classes {
                Some(count) => Value::Texts(classes(scores, manifest, count)),
                None => Value::Floats(vec![scores.len()], scores.clone()),
            }
        };
        Ok(self.0.iter().map(value).collect())
    }

    /// The answer: its bytes, and how many of them are JSON if not all are. `rows` has the values of
    /// each picture, `None` for one that failed; at least one did not.
    ///
    /// # Errors
    /// [`ApiError::Internal`]: it cannot be written.
    pub(crate) fn write(
        &self,
        mut response: InferResponse,
        rows: Vec<Option<Vec<Value>>>,
    ) -> Result<(Vec<u8>, Option<usize>), ApiError> {
        let mut columns: Vec<Vec<Option<Value>>> = self.0.iter().map(|_| Vec::new()).collect();
        for row in rows {
            let mut values = row.map(Vec::into_iter);
            for column in &mut columns {
                column.push(values.as_mut().and_then(Iterator::next));
            }
        }
        let mut tail = Vec::new();
        for (wanted, column) in self.0.iter().zip(columns) {
            response.outputs.push(wanted.output(column, &mut tail)?);
        }
        let mut bytes = serde_json::to_vec(&response).map_err(|_| ApiError::Internal)?;
        let has_tail = self.0.iter().any(|wanted| wanted.is_binary);
        let header = has_tail.then_some(bytes.len());
        bytes.append(&mut tail);
        Ok((bytes, header))
    }
}

impl Wanted {
    /// One output of all pictures; binary data goes to the tail.
    fn output(
        &self,
        column: Vec<Option<Value>>,
        tail: &mut Vec<u8>,
    ) -> Result<ResponseOutput, ApiError> {
        let first = column.iter().flatten().next().cloned().ok_or(ApiError::Internal)?;
        let (datatype, after) = match &first {
            Value::Floats(shape, _) => ("FP32", shape.clone()),
            Value::Bytes(_) => ("BYTES", Vec::new()),
            Value::Texts(texts) => ("BYTES", vec![texts.len()]),
        };
        let shape = [&[column.len()], &after[..]].concat();
        // What stands for a picture that failed.
        let none = match first {
            Value::Floats(shape, values) => Value::Floats(shape, vec![f32::NAN; values.len()]),
            Value::Bytes(_) => Value::Bytes(Vec::new()),
            Value::Texts(texts) => Value::Texts(vec![String::new(); texts.len()]),
        };
        let values = column.into_iter().map(|value| value.unwrap_or_else(|| none.clone()));
        let (parameters, data) = if self.is_binary {
            let start = tail.len();
            values.for_each(|value| value.append_to(tail));
            let binary_data_size = tail.len() - start;
            (Some(OutputParameters::Binary { binary_data_size }), None)
        } else {
            let is_file = self.kind == Kind::Overlay;
            let parameters = is_file.then_some(OutputParameters::Text { encoding: "base64" });
            (parameters, Some(as_json(values, is_file)))
        };
        Ok(ResponseOutput { name: self.name, datatype, shape, parameters, data })
    }
}

impl Value {
    /// Appends it in binary form: numbers in little-endian, texts each after its length.
    fn append_to(self, tail: &mut Vec<u8>) {
        let mut element = |bytes: &[u8]| {
            tail.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            tail.extend_from_slice(bytes);
        };
        match self {
            Value::Bytes(bytes) => element(&bytes),
            Value::Texts(texts) => texts.iter().for_each(|text| element(text.as_bytes())),
            Value::Floats(_, values) => {
                tail.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
        }
    }
}

/// Values as JSON has them; files in base64.
fn as_json(values: impl Iterator<Item = Value>, is_file: bool) -> OutputData {
    let (mut floats, mut texts) = (Vec::new(), Vec::new());
    for value in values {
        match value {
            Value::Floats(_, values) => floats.extend(values),
            Value::Texts(values) => texts.extend(values),
            Value::Bytes(bytes) if is_file => texts.push(STANDARD.encode(bytes)),
            Value::Bytes(bytes) => texts.push(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }
    if texts.is_empty() { OutputData::Floats(floats) } else { OutputData::Texts(texts) }
}

/// The classes of the largest values, as the classification extension writes them.
fn classes(scores: &[f32], manifest: &Manifest, count: usize) -> Vec<String> {
    let mut ranked: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let class =
        |(index, value): (usize, f32)| format!("{value:.6}:{index}:{}", manifest.classes[index].id);
    ranked.into_iter().take(count).map(class).collect()
}

/// The texts of the errors of pictures, as the answer's parameters have them.
pub(crate) fn error_parameters(failures: &[(usize, ApiError)]) -> BTreeMap<String, String> {
    let parameter =
        |(index, error): &(usize, ApiError)| (format!("error[{index}]"), error.to_string());
    failures.iter().map(parameter).collect()
}
