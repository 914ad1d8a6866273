//! Functions: operators that a file defines itself, by other operators.

use super::{called, inside_mut, is_standard};
use crate::Error;
use crate::budget::Budget;
use crate::skeleton::protobuf::fields;
use prost::Message;
use std::collections::HashMap;
use tract_onnx::pb::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto};

/// Functions that call others to a greater depth are refused; those that call themselves, too.
const DEEPEST: usize = 32;
/// Field numbers of `onnx.proto3`.
const MODEL_FUNCTIONS: u32 = 25;
const FUNCTION_ATTRIBUTE_PROTO: u32 = 11;

/// Replaces each call of a function by its nodes.
///
/// # Errors
/// [`Error::Graph`]: a function calls itself, becomes too large, or is written for another version of
/// the standard than the model.
pub(super) fn inline(model: &mut ModelProto, bytes: &[u8], budget: &Budget) -> Result<(), Error> {
    if model.functions.is_empty() {
        return Ok(());
    }
    let mut functions = HashMap::new();
    let opset = |imports: &[tract_onnx::pb::OperatorSetIdProto]| {
        imports.iter().find(|import| is_standard(&import.domain)).map(|import| import.version)
    };
    let defaults = defaults(bytes).unwrap_or_default();
    for (number, function) in std::mem::take(&mut model.functions).into_iter().enumerate() {
        let defaults = defaults.get(number).cloned().unwrap_or_default();
        let is_older = match (opset(&function.opset_import), opset(&model.opset_import)) {
            (Some(own), Some(model)) => own != model,
            _ => false,
        };
        let key = (function.domain().to_owned(), function.name().to_owned());
        functions.insert(key, Function { function, defaults, is_older });
    }
    let mut inliner = Inliner { functions, calls: 0, budget };
    match &mut model.graph {
        Some(graph) => inliner.graph(graph, 0),
        None => Ok(()),
    }
}

/// The attributes with default values of each function, which tract's message leaves out.
fn defaults(bytes: &[u8]) -> Option<Vec<Vec<AttributeProto>>> {
    let mut found = Vec::new();
    for function in fields(bytes, 0..bytes.len())? {
        if function.number != MODEL_FUNCTIONS {
            continue;
        }
        let mut defaults = Vec::new();
        for field in fields(bytes, function.content)? {
            if field.number == FUNCTION_ATTRIBUTE_PROTO {
                defaults.push(AttributeProto::decode(&bytes[field.content]).ok()?);
            }
        }
        found.push(defaults);
    }
    Some(found)
}

struct Function {
    function: FunctionProto,
    defaults: Vec<AttributeProto>,
    /// Whether it is written for another version of the standard than the model.
    is_older: bool,
}

struct Inliner<'a> {
    functions: HashMap<(String, String), Function>,
    /// How many calls have been replaced: makes names unique.
    calls: usize,
    /// What the file may take: functions that call others twice double at each level.
    budget: &'a Budget,
}

impl Inliner<'_> {
    fn graph(&mut self, graph: &mut GraphProto, depth: usize) -> Result<(), Error> {
        graph.node = self.nodes(std::mem::take(&mut graph.node), depth)?;
        Ok(())
    }

    fn nodes(&mut self, nodes: Vec<NodeProto>, depth: usize) -> Result<Vec<NodeProto>, Error> {
        let mut flat = Vec::new();
        for mut node in nodes {
            for graph in inside_mut(&mut node) {
                self.graph(graph, depth)?;
            }
            let Some(body) = self.body(&node)? else {
                flat.push(node);
                continue;
            };
            if depth == DEEPEST {
                let what = format!("{}: functions call others too deeply", called(&node));
                return Err(Error::Graph(what));
            }
            flat.extend(self.nodes(body, depth + 1)?);
        }
        Ok(flat)
    }

    /// The nodes that a call stands for; `None` if it is no call.
    fn body(&mut self, call: &NodeProto) -> Result<Option<Vec<NodeProto>>, Error> {
        let key = (call.domain.clone(), call.op_type.clone());
        let Some(Function { function, defaults, is_older }) = self.functions.get(&key) else {
            return Ok(None);
        };
        if *is_older {
            let what = "the function is written for another version of the standard than the model";
            return Err(Error::Graph(format!("{}: {what}", called(call))));
        }
        if function.output.iter().any(|result| function.input.contains(result)) {
            let what = format!("{}: a result that is an operand is not supported", called(call));
            return Err(Error::Graph(what));
        }
        self.calls += 1;
        let size = function.node.iter().map(Message::encoded_len).sum::<usize>();
        let taken = self.budget.nodes(1 + function.node.len());
        taken
            .and_then(|()| self.budget.work(size as u64))
            .map_err(|error| Error::Graph(format!("{}: its functions: {error}", called(call))))?;
        let name = if call.name.is_empty() { &call.op_type } else { &call.name };
        let mut names = HashMap::new();
        for (formal, actual) in [(&function.input, &call.input), (&function.output, &call.output)] {
            for (position, formal) in formal.iter().enumerate() {
                let actual = actual.get(position).cloned().unwrap_or_default();
                let is_result = function.output.contains(formal);
                // A result that is not asked for keeps a name of its own.
                if !(actual.is_empty() && is_result) {
                    names.insert(formal.clone(), actual);
                }
            }
        }
        let attributes = call.attribute.iter().chain(defaults);
        let attributes = attributes.rev().map(|a| (a.name.clone(), a)).collect();
        let scope = Scope { prefix: format!("{name}/{}/", self.calls), names, attributes };
        let mut nodes = function.node.clone();
        nodes.iter_mut().for_each(|node| scope.enter(node));
        Ok(Some(nodes))
    }
}

/// What names and attributes inside a function mean at one of its calls.
struct Scope<'a> {
    prefix: String,
    names: HashMap<String, String>,
    attributes: HashMap<String, &'a AttributeProto>,
}

impl Scope<'_> {
    fn rename(&self, name: &mut String) {
        if let Some(actual) = self.names.get(name) {
            name.clone_from(actual);
        } else if !name.is_empty() {
            name.insert_str(0, &self.prefix);
        }
    }

    fn enter(&self, node: &mut NodeProto) {
        if !node.name.is_empty() {
            node.name.insert_str(0, &self.prefix);
        }
        node.input.iter_mut().chain(&mut node.output).for_each(|name| self.rename(name));
        node.attribute.retain_mut(|attribute| {
            if attribute.ref_attr_name.is_empty() {
                return true;
            }
            let Some(&given) = self.attributes.get(&attribute.ref_attr_name) else { return false };
            let name = std::mem::take(&mut attribute.name);
            *attribute = AttributeProto { name, ..given.clone() };
            true
        });
        inside_mut(node).for_each(|graph| self.enter_graph(graph));
    }

    fn enter_graph(&self, graph: &mut GraphProto) {
        graph.initializer.iter_mut().for_each(|tensor| self.rename(&mut tensor.name));
        let values = graph.input.iter_mut().chain(&mut graph.output);
        values.for_each(|value| self.rename(&mut value.name));
        graph.node.iter_mut().for_each(|node| self.enter(node));
    }
}
