//! Signature: the inputs and outputs that an ONNX graph declares, and which outputs may hold the
//! scores.

mod exporter;
mod float32;
mod prune;
mod value;

pub(crate) use exporter::leavings;
pub(crate) use float32::{computes_in, to_float32};
pub(crate) use prune::prune;
pub(crate) use value::{Declared, element_name};

use crate::{Error, Manifest, Output};
use std::collections::HashMap;
use tract_onnx::pb::{GraphProto, NodeProto};

/// More outputs are not looked at.
const MAX_CANDIDATES: usize = 8;

/// Nodes that a final activation is looked for behind: they change no value.
const PASSES_ON: [&str; 7] =
    ["Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose"];

/// What the graph declares, before a node of it is read.
pub(crate) struct Signature {
    /// The outputs, in the graph's order.
    pub(crate) outputs: Vec<Declared>,
    /// Names of the values that may be the scores, the most likely first.
    pub(crate) candidates: Vec<String>,
    /// What a user should know of the choice.
    pub(crate) notes: Vec<String>,
}

impl Signature {
    /// Reads the graph's outputs, and which of them may hold the manifest's classes: its
    /// `output_name`, or every tensor of floating-point numbers, those first whose declared shape
    /// and last operator agree with the manifest.
    ///
    /// # Errors
    /// [`Error::Mismatch`]: there is none.
    pub(crate) fn read(graph: &GraphProto, manifest: &Manifest) -> Result<Signature, Error> {
        let outputs: Vec<Declared> = graph.output.iter().map(Declared::read).collect();
        let producers = producers(graph);
        if let Some(name) = &manifest.output_name {
            let is_there = producers.contains_key(name.as_str())
                || outputs.iter().any(|output| output.name == *name);
            if !is_there {
                let found = format!("it has no value {name:?} (output_name); {}", listed(&outputs));
                return Err(Error::Mismatch(found));
            }
            let candidates = vec![tensor_behind(name, &producers).to_owned()];
            let notes = kind_note(&candidates[0], &producers, manifest);
            return Ok(Signature { outputs, candidates, notes });
        }
        let uncertain = manifest.uncertain.as_ref().map(|uncertain| &uncertain.output);
        let mut ranked: Vec<((usize, bool), String)> = Vec::new();
        for output in outputs.iter().filter(|output| Some(&output.name) != uncertain) {
            let name = tensor_behind(&output.name, &producers);
            let is_behind = name != output.name;
            if !(is_behind || output.may_be_scores()) {
                continue;
            }
            let fit = if is_behind { 2 } else { output.fit(manifest.classes.len()) };
            let agrees = agrees(final_operator(name, &producers), manifest.output);
            ranked.push(((fit, !agrees), name.to_owned()));
        }
        ranked.sort_by_key(|(key, _)| *key);
        ranked.truncate(MAX_CANDIDATES);
        let Some((best, name)) = ranked.first() else {
            let found = format!("no output holds scores; {}", listed(&outputs));
            return Err(Error::Mismatch(found));
        };
        let mut notes = kind_note(name, &producers, manifest);
        if let Some((_, other)) = ranked.get(1).filter(|(key, _)| key == best && key.0 < 2) {
            notes.push(format!(
                "the outputs {name:?} and {other:?} both fit the classes: the first is taken, output_name in \
                 the manifest chooses another"
            ));
        }
        let candidates = ranked.into_iter().map(|(_, name)| name).collect();
        Ok(Signature { outputs, candidates, notes })
    }

    /// None of the candidates holds the manifest's classes.
    pub(crate) fn mismatch(&self, manifest: &Manifest) -> Error {
        let classes = manifest.classes.len();
        let outputs = listed(&self.outputs);
        Error::Mismatch(format!("no output fits the manifest's {classes} classes; {outputs}"))
    }
}

/// The outputs with types and shapes, as messages list them.
pub(crate) fn listed(outputs: &[Declared]) -> String {
    let shown: Vec<String> = outputs.iter().take(12).map(ToString::to_string).collect();
    let more = if outputs.len() > 12 { ", ..." } else { "" };
    format!("its outputs are: {}{more}", shown.join(", "))
}

/// The node that computes each value.
pub(crate) fn producers(graph: &GraphProto) -> HashMap<&str, &NodeProto> {
    let outputs = |node| {
        let node: &NodeProto = node;
        node.output.iter().map(move |output| (output.as_str(), node))
    };
    graph.node.iter().flat_map(outputs).collect()
}

/// The tensor that a `ZipMap` (ai.onnx.ml) makes this sequence of maps of; the value itself where
/// no `ZipMap` computes it.
pub(crate) fn tensor_behind<'a>(
    name: &'a str,
    producers: &HashMap<&'a str, &'a NodeProto>,
) -> &'a str {
    let zip_map = producers.get(name).filter(|node| node.op_type == "ZipMap");
    zip_map.and_then(|node| node.input.first()).map_or(name, String::as_str)
}

/// The operator that computes a value, or what it is a reshaped copy of.
pub(crate) fn final_operator<'a>(name: &str, producers: &HashMap<&str, &'a NodeProto>) -> &'a str {
    let mut value = name;
    // Bounded: a malformed graph may have a cycle.
    for _ in 0..16 {
        let Some(&node) = producers.get(value) else { return "" };
        match node.input.first() {
            Some(input) if PASSES_ON.contains(&node.op_type.as_str()) => value = input,
            _ => return &node.op_type,
        }
    }
    ""
}

/// Whether a graph that ends in this operator computes what the manifest says.
fn agrees(operator: &str, output: Output) -> bool {
    match output {
        Output::Logits => !matches!(operator, "Softmax" | "Sigmoid"),
        // Probabilities of two classes may come from one sigmoid unit.
        Output::Softmax => matches!(operator, "Softmax" | "Sigmoid"),
        Output::Sigmoid => operator == "Sigmoid",
    }
}

/// A note if the graph plainly computes something else than the manifest says.
fn kind_note(
    name: &str,
    producers: &HashMap<&str, &NodeProto>,
    manifest: &Manifest,
) -> Vec<String> {
    let operator = final_operator(name, producers);
    let is_raw = matches!(operator, "Gemm" | "MatMul" | "Add" | "Conv" | "GlobalAveragePool");
    let is_probability = matches!(operator, "Softmax" | "Sigmoid");
    let (is_wrong, kind) = match manifest.output {
        Output::Logits => (is_probability && manifest.classes.len() > 2, "logits"),
        Output::Softmax => (is_raw, "softmax"),
        Output::Sigmoid => (is_raw || operator == "Softmax", "sigmoid"),
    };
    if !is_wrong {
        return Vec::new();
    }
    vec![format!(
        "the manifest says output = \"{kind}\", but the graph ends in {operator}: are the \
         probabilities right?"
    )]
}
