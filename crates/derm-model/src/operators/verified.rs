//! Verified operators: which operators of the standard were compared with onnxruntime, in which
//! versions and with which attributes. `verified.toml` is written by `tests/operators.rs`.

use crate::Error;
use crate::rewrite::is_standard;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use tract_onnx::Onnx;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto};

const LIST: &str = include_str!("verified.toml");

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    operator: Vec<Verified>,
}

/// An operator that was compared.
#[derive(Deserialize)]
struct Verified {
    /// Its name, after its domain unless that is the standard's.
    name: String,
    /// First and last versions of the standard.
    opsets: Vec<[i64; 2]>,
    /// The attributes that must be there: their defaults were not compared.
    #[serde(default)]
    required: Vec<String>,
    /// The attributes that may be there, and their values.
    #[serde(default)]
    attributes: BTreeMap<String, Values>,
}

/// The values of an attribute that were compared.
#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    /// Enough different ones: any value.
    Any(bool),
    Numbers(Vec<i64>),
    Texts(Vec<String>),
}

/// The nodes of a model that were not compared with onnxruntime as they are used, each with the
/// reason.
///
/// # Errors
/// [`Error::Graph`] if the list of verified operators cannot be read.
pub(crate) fn unverified(model: &ModelProto) -> Result<Vec<String>, Error> {
    let list: List = toml::from_str(LIST)
        .map_err(|error| Error::Graph(format!("the list of verified operators: {error}")))?;
    let known = list.operator.iter().map(|operator| (operator.name.as_str(), operator)).collect();
    let standard = model.opset_import.iter().find(|import| is_standard(&import.domain));
    let opset = standard.map_or(1, |import| import.version);
    let mut found = Vec::new();
    if let Some(graph) = &model.graph {
        look(graph, opset, &known, &mut found);
    }
    Ok(found)
}

/// Checks that there is a reader for every operator.
///
/// # Errors
/// [`Error::Graph`] with the names of the first operator that has none, and of its node.
pub(crate) fn check_supported(graph: &GraphProto, onnx: &Onnx) -> Result<(), Error> {
    for node in &graph.node {
        if !onnx.op_register.0.contains_key(&node.op_type) {
            let of = if is_standard(&node.domain) { "" } else { " of " };
            let domain = if is_standard(&node.domain) { "" } else { &*node.domain };
            let (name, operator) = (node_name(node), &node.op_type);
            let what = format!(
                "{name} ({operator}): the operator {operator}{of}{domain} is not supported"
            );
            return Err(Error::Graph(what));
        }
        for attribute in &node.attribute {
            let mut graphs = attribute.g.iter().chain(&attribute.graphs);
            graphs.try_for_each(|graph| check_supported(graph, onnx))?;
        }
    }
    Ok(())
}

fn look(graph: &GraphProto, opset: i64, known: &HashMap<&str, &Verified>, found: &mut Vec<String>) {
    for node in &graph.node {
        if let Some(reason) = reason(node, opset, known) {
            found.push(format!("{} ({}): {reason}", node_name(node), node.op_type));
        }
        for attribute in &node.attribute {
            let graphs = attribute.g.iter().chain(&attribute.graphs);
            graphs.for_each(|graph| look(graph, opset, known, found));
        }
    }
}

fn node_name(node: &NodeProto) -> &str {
    let first = node.output.first().map_or("", String::as_str);
    if node.name.is_empty() { first } else { &node.name }
}

/// Why a node was not compared as it is used; `None` if it was.
fn reason(node: &NodeProto, opset: i64, known: &HashMap<&str, &Verified>) -> Option<String> {
    let is_standard = is_standard(&node.domain);
    let name = match is_standard {
        true => node.op_type.clone(),
        false => format!("{}.{}", node.domain, node.op_type),
    };
    let Some(verified) = known.get(name.as_str()) else {
        return Some(format!("{name} was never compared"));
    };
    let covers = |&[first, last]: &[i64; 2]| (first..=last).contains(&opset);
    if is_standard && !verified.opsets.iter().any(covers) {
        return Some(format!("{name} of opset {opset} was not compared"));
    }
    let is_there = |name: &String| node.attribute.iter().any(|given| given.name == *name);
    if let Some(missing) = verified.required.iter().find(|name| !is_there(name)) {
        return Some(format!("{name} without {missing} was not compared"));
    }
    let unknown = node.attribute.iter().find(|attribute| !verified.has(attribute))?;
    Some(format!("{} was not compared", shown(unknown)))
}

impl Verified {
    fn has(&self, attribute: &AttributeProto) -> bool {
        match self.attributes.get(&attribute.name) {
            None => false,
            Some(Values::Any(any)) => *any,
            Some(Values::Numbers(numbers)) => numbers.contains(&attribute.i),
            Some(Values::Texts(texts)) => {
                texts.iter().any(|text| text.as_bytes() == attribute.s.as_slice())
            }
        }
    }
}

fn shown(attribute: &AttributeProto) -> String {
    let name = &attribute.name;
    match AttributeType::try_from(attribute.r#type) {
        Ok(AttributeType::Int) => format!("{name} = {}", attribute.i),
        Ok(AttributeType::String) => {
            format!("{name} = {:?}", String::from_utf8_lossy(&attribute.s))
        }
        _ => name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::pb::OperatorSetIdProto;

    fn model(operator: &str, version: i64, attribute: Option<(&str, &str)>) -> ModelProto {
        let attribute = attribute.map(|(name, text)| AttributeProto {
            name: name.to_owned(),
            s: text.as_bytes().to_vec(),
            r#type: AttributeType::String as i32,
            ..AttributeProto::default()
        });
        let node = NodeProto {
            name: "n".to_owned(),
            op_type: operator.to_owned(),
            attribute: attribute.into_iter().collect(),
            ..NodeProto::default()
        };
        ModelProto {
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version }],
            graph: Some(GraphProto { node: vec![node], ..GraphProto::default() }),
            ..ModelProto::default()
        }
    }

    #[test]
    fn what_was_not_compared_is_named() {
        for (model, expected) in [
            (model("Relu", 17, None), None),
            (model("Pad", 19, Some(("mode", "wrap"))), None),
            (model("Pad", 17, Some(("mode", "mirror"))), Some("n (Pad): mode = \"mirror\"")),
            (model("Relu", 17, Some(("slope", "x"))), Some("n (Relu): slope")),
            (model("Relu", 99, None), Some("Relu of opset 99")),
            (model("RandomNormalLike", 17, None), Some("RandomNormalLike was never compared")),
        ] {
            let found = unverified(&model).unwrap();
            match expected {
                None => assert!(found.is_empty(), "{found:?}"),
                Some(part) => assert!(found.len() == 1 && found[0].contains(part), "{found:?}"),
            }
        }
    }
}
