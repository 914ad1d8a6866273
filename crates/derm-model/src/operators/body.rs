//! Body: a graph of ONNX operators that an operator stands for, written for the operands at hand.

use super::expansion::{Expansion, Rule};
use super::onnx;
use crate::budget::{Budget, Shared, limit};
use std::sync::OnceLock;
use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TypeProto,
    ValueInfoProto, type_proto,
};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

/// The version of the standard that bodies are written in.
const OPSET: i64 = 18;

/// Writes the body of a node; returns the names of its results.
pub(super) type WriteBody = fn(&mut Call<'_>) -> TractResult<Vec<String>>;

/// Reads a node as an operator that its body replaces.
///
/// # Errors
/// None.
pub(super) fn read(
    context: &ParsingContext<'_>,
    node: &NodeProto,
    write: WriteBody,
) -> super::Read {
    Ok((Box::new(Expansion::new(ByBody::new(context, node, write))), Vec::new()))
}

/// The rule of an operator that a body replaces.
#[derive(Debug)]
pub(super) struct ByBody {
    node: NodeProto,
    opset: i64,
    write: WriteBody,
}

impl ByBody {
    pub(super) fn new(context: &ParsingContext<'_>, node: &NodeProto, write: WriteBody) -> ByBody {
        ByBody { node: node.clone(), opset: context.onnx_operator_set_version, write }
    }
}

impl Rule for ByBody {
    fn name(&self) -> String {
        self.node.op_type.clone()
    }

    fn outputs(&self) -> usize {
        self.node.output.iter().filter(|name| !name.is_empty()).count()
    }

    fn graph(&self, operands: &[TypedFact], budget: &Shared) -> TractResult<TypedModel> {
        let graph = GraphProto { input: inputs(operands.len()), ..GraphProto::default() };
        let mut call = Call { node: &self.node, opset: self.opset, operands, graph, budget };
        let results = (self.write)(&mut call)?;
        let wanted = self.node.output.iter().zip(results).filter(|(name, _)| !name.is_empty());
        call.graph.output = wanted.map(|(_, result)| value(&result)).collect();
        ensure!(call.graph.output.len() == self.outputs(), "an output that is not supported");
        typed(&call.graph, operands, OPSET, None, budget)
    }
}

/// Inputs named as operands are in a body: by their number.
fn inputs(count: usize) -> Vec<ValueInfoProto> {
    (0..count).map(|number| value(&number.to_string())).collect()
}

/// A value of this name; its type is filled in when the graph is read.
pub(super) fn value(name: &str) -> ValueInfoProto {
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: None };
    let kind =
        TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.to_owned(), r#type: Some(kind), ..ValueInfoProto::default() }
}

/// Reads a graph for operands of these types and shapes, which are its inputs.
///
/// # Errors
/// If tract cannot read it, it reads a value that nothing computes, or the budget is used up.
pub(super) fn typed(
    graph: &GraphProto,
    operands: &[TypedFact],
    opset: i64,
    folder: Option<&str>,
    budget: &Shared,
) -> TractResult<TypedModel> {
    budget.graph(graph)?;
    static ONNX: OnceLock<Onnx> = OnceLock::new();
    let import = OperatorSetIdProto { domain: String::new(), version: opset };
    let model = ModelProto {
        graph: Some(graph.clone()),
        opset_import: vec![import],
        ..ModelProto::default()
    };
    let parsed = ONNX.get_or_init(onnx).parse(&model, folder)?;
    let unresolved = parsed.unresolved_inputs;
    ensure!(unresolved.is_empty(), "no node computes {}", unresolved.join(", "));
    let mut model = parsed.model;
    limit(&mut model, budget);
    for (number, fact) in operands.iter().enumerate() {
        model.set_input_fact(number, fact.into())?;
    }
    model.into_typed()
}

/// A node whose body is being written: its attributes and operands, and the body.
pub(super) struct Call<'a> {
    node: &'a NodeProto,
    /// The version of the standard that the node is written in.
    pub(super) opset: i64,
    operands: &'a [TypedFact],
    graph: GraphProto,
    budget: &'a Budget,
}

impl Call<'_> {
    /// The name in the body of the operand at this position; empty if it is left out.
    pub(super) fn operand(&self, position: usize) -> String {
        self.place(position).map_or_else(String::new, |place| place.to_string())
    }

    pub(super) fn has(&self, position: usize) -> bool {
        self.place(position).is_some()
    }

    /// Which of the operands that are there is at this position.
    fn place(&self, position: usize) -> Option<usize> {
        let is_there = |name: &String| !name.is_empty();
        self.node.input.get(position).filter(|name| is_there(name))?;
        Some(self.node.input[..position].iter().filter(|name| is_there(name)).count())
    }

    fn fact(&self, position: usize) -> TractResult<&TypedFact> {
        let place = self.place(position).with_context(|| format!("input {position} is missing"))?;
        self.operands.get(place).with_context(|| format!("input {position} is missing"))
    }

    pub(super) fn datum_type(&self, position: usize) -> TractResult<DatumType> {
        Ok(self.fact(position)?.datum_type)
    }

    pub(super) fn shape(&self, position: usize) -> TractResult<Vec<i64>> {
        let shape = self.fact(position)?.shape.as_concrete().context("a size is not fixed")?;
        Ok(shape.iter().map(|&length| length as i64).collect())
    }

    /// The value of an operand that does not depend on the picture; `None` if it is left out.
    ///
    /// # Errors
    /// If it depends on the picture.
    pub(super) fn constant<T: Datum + Copy>(&self, position: usize) -> TractResult<Option<Vec<T>>> {
        if !self.has(position) {
            return Ok(None);
        }
        let tensor = self.fact(position)?.konst.clone();
        let tensor = tensor.with_context(|| format!("input {position} is not constant"))?;
        let cast = tensor.cast_to::<T>()?;
        Ok(Some(cast.to_plain_array_view::<T>()?.iter().copied().collect()))
    }

    /// Whether the operand at this position is there and does not depend on the picture.
    pub(super) fn is_constant(&self, position: usize) -> bool {
        self.fact(position).is_ok_and(|fact| fact.konst.is_some())
    }

    /// The node's operator.
    pub(super) fn operator(&self) -> String {
        self.node.op_type.clone()
    }

    /// Whether the result at this position is asked for.
    pub(super) fn wants(&self, position: usize) -> bool {
        self.node.output.get(position).is_some_and(|name| !name.is_empty())
    }

    pub(super) fn outputs(&self) -> usize {
        self.node.output.len()
    }

    pub(super) fn int(&self, name: &str) -> TractResult<Option<i64>> {
        self.node.get_attr_opt(name)
    }

    pub(super) fn float(&self, name: &str) -> TractResult<Option<f32>> {
        self.node.get_attr_opt(name)
    }

    pub(super) fn text(&self, name: &str) -> TractResult<Option<String>> {
        self.node.get_attr_opt(name)
    }

    pub(super) fn ints(&self, name: &str) -> TractResult<Option<Vec<i64>>> {
        self.node.get_attr_opt_vec(name)
    }

    pub(super) fn floats(&self, name: &str) -> TractResult<Option<Vec<f32>>> {
        self.node.get_attr_opt_vec(name)
    }

    /// Appends a node; returns the name of its result.
    pub(super) fn put(&mut self, operator: &str, inputs: &[&str], with: &[With<'_>]) -> String {
        let name = format!("{operator}{}", self.graph.node.len());
        self.graph.node.push(NodeProto {
            op_type: operator.to_owned(),
            name: name.clone(),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.clone()],
            attribute: with.iter().map(With::attribute).collect(),
            ..NodeProto::default()
        });
        name
    }

    /// Appends the node itself with another operator and operands, without some attributes;
    /// returns the names of its results, of which those not asked for are empty.
    pub(super) fn forward(
        &mut self,
        operator: &str,
        operands: &[String],
        without: &[&str],
    ) -> Vec<String> {
        let name = format!("{operator}{}", self.graph.node.len());
        let results: Vec<String> = (0..self.node.output.len())
            .map(
                |number| {
                    if self.wants(number) { format!("{name}.{number}") } else { String::new() }
                },
            )
            .collect();
        let mut input = operands.to_vec();
        while input.last().is_some_and(String::is_empty) {
            input.pop();
        }
        let attributes = self.node.attribute.iter();
        let attributes = attributes.filter(|attribute| !without.contains(&&*attribute.name));
        self.graph.node.push(NodeProto {
            op_type: operator.to_owned(),
            name,
            input,
            output: results.clone(),
            attribute: attributes.cloned().collect(),
            ..NodeProto::default()
        });
        results
    }

    /// Gives the node that was appended last a further attribute.
    pub(super) fn give(&mut self, attribute: &With<'_>) {
        let last = self.graph.node.last_mut();
        last.into_iter().for_each(|node| node.attribute.push(attribute.attribute()));
    }

    /// Adds a list of integers.
    pub(super) fn put_ints(&mut self, values: &[i64]) -> String {
        self.put_tensor(TensorProto {
            dims: vec![values.len() as i64],
            data_type: DataType::Int64 as i32,
            int64_data: values.to_vec(),
            ..TensorProto::default()
        })
    }

    /// Adds a number, as a tensor without axes.
    pub(super) fn put_float(&mut self, value: f32) -> String {
        self.put_tensor(TensorProto {
            data_type: DataType::Float as i32,
            float_data: vec![value],
            ..TensorProto::default()
        })
    }

    /// Adds a tensor of numbers of this shape, of which `values` makes one after the other.
    ///
    /// # Errors
    /// If the budget has no room for them; then none is made.
    pub(super) fn put_floats(
        &mut self,
        shape: &[i64],
        values: impl IntoIterator<Item = f32>,
    ) -> TractResult<String> {
        let count = self.room(shape)?;
        let float_data: Vec<f32> = values.into_iter().take(count).collect();
        ensure!(float_data.len() == count, "{} values for {shape:?}", float_data.len());
        Ok(self.put_tensor(TensorProto {
            dims: shape.to_vec(),
            data_type: DataType::Float as i32,
            float_data,
            ..TensorProto::default()
        }))
    }

    /// How many values a tensor of this shape has, which are to be made.
    ///
    /// # Errors
    /// If the budget has no room for them.
    pub(super) fn room(&self, shape: &[i64]) -> TractResult<usize> {
        let lengths = shape.iter().map(|&length| u64::try_from(length).context("a length"));
        let count = lengths
            .into_iter()
            .try_fold(1u64, |count, length| TractResult::Ok(count.saturating_mul(length?)))?;
        self.budget.work(count.saturating_mul(size_of::<i64>() as u64))?;
        Ok(usize::try_from(count)?)
    }

    fn put_tensor(&mut self, tensor: TensorProto) -> String {
        let name = format!("constant{}", self.graph.initializer.len());
        self.graph.initializer.push(TensorProto { name: name.clone(), ..tensor });
        name
    }

    /// Appends a `Reshape`.
    pub(super) fn reshape(&mut self, value: &str, shape: &[i64]) -> String {
        let shape = self.put_ints(shape);
        self.put("Reshape", &[value, &shape], &[])
    }
}

/// An attribute of a node of a body.
pub(super) enum With<'a> {
    Int(&'a str, i64),
    Ints(&'a str, &'a [i64]),
    Text(&'a str, &'a str),
}

impl With<'_> {
    fn attribute(&self) -> AttributeProto {
        let named = |name: &str, kind: AttributeType| AttributeProto {
            name: name.to_owned(),
            r#type: kind as i32,
            ..AttributeProto::default()
        };
        match *self {
            With::Int(name, i) => AttributeProto { i, ..named(name, AttributeType::Int) },
            With::Ints(name, ints) => {
                AttributeProto { ints: ints.to_vec(), ..named(name, AttributeType::Ints) }
            }
            With::Text(name, text) => {
                AttributeProto { s: text.as_bytes().to_vec(), ..named(name, AttributeType::String) }
            }
        }
    }
}
