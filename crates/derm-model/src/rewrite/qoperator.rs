//! QOperator format: operators on 8-bit numbers that carry their own scales, as onnxruntime's quantisation writes them with
//! `QuantFormat.QOperator` (`QLinearConv`, `QLinearAdd`, `QGemm`, ...; "Contrib Operators", onnxruntime).
//!
//! Each becomes the same in the QDQ format: `DequantizeLinear` of its operands, the operator on float32,
//! `QuantizeLinear`. That is computed in integers like any other network of that format.

use super::message::{constant, floats, integer, is_standard, new_node, number};
use super::taken::Taken;
use super::{called, inside_mut};
use crate::Error;
use std::collections::HashMap;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

/// How the operands of an operator lie among its inputs.
enum Operands {
    /// A value, its scale and zero point, for each; then the scale and zero point of the result.
    Quantized(usize),
    /// The same, and a bias of 32 bits in the end.
    BiasLast,
    /// The bias stands before the scale of the result, which may be left out: the result is then float32.
    BiasBeforeResult,
    /// Scale and zero point of the result come first, then any number of values.
    ResultFirst,
}

/// The operator on float32 that an operator of the format stands for.
fn meaning(node: &NodeProto) -> Option<(&'static str, Operands)> {
    let name = node.op_type.as_str();
    if is_standard(&node.domain) {
        return match name {
            "QLinearConv" => Some(("Conv", Operands::BiasLast)),
            "QLinearMatMul" => Some(("MatMul", Operands::Quantized(2))),
            _ => None,
        };
    }
    if node.domain != "com.microsoft" {
        return None;
    }
    Some(match name {
        "QGemm" => ("Gemm", Operands::BiasBeforeResult),
        "QLinearAdd" => ("Add", Operands::Quantized(2)),
        "QLinearMul" => ("Mul", Operands::Quantized(2)),
        "QLinearAveragePool" => ("AveragePool", Operands::Quantized(1)),
        "QLinearGlobalAveragePool" => ("GlobalAveragePool", Operands::Quantized(1)),
        "QLinearConcat" => ("Concat", Operands::ResultFirst),
        "QLinearLeakyRelu" => ("LeakyRelu", Operands::Quantized(1)),
        "QLinearSigmoid" => ("Sigmoid", Operands::Quantized(1)),
        "QLinearSoftmax" => ("Softmax", Operands::Quantized(1)),
        _ => return None,
    })
}

/// Rewrites the QOperator format as the QDQ format, in a graph and in the graphs inside it.
///
/// # Errors
/// [`Error::Graph`] names the node that has too few inputs, or uses something that is not supported.
pub(super) fn replace(graph: &mut GraphProto) -> Result<(), Error> {
    for node in &mut graph.node {
        inside_mut(node).try_for_each(replace)?;
    }
    if graph.node.iter().all(|node| meaning(node).is_none()) {
        return Ok(());
    }
    let mut writer = Writer::new(graph);
    let nodes = std::mem::take(&mut graph.node);
    for node in nodes {
        match meaning(&node) {
            Some((operator, operands)) => writer.replace(node, operator, &operands)?,
            None => writer.keep(node),
        }
    }
    let Writer { nodes, constants, .. } = writer;
    graph.node = nodes;
    graph.initializer.extend(constants);
    Ok(())
}

/// A value with its scale and zero point, by name. The zero point may be "": 0.
#[derive(Clone)]
struct Quantized {
    value: String,
    scale: String,
    zero_point: String,
}

/// The operands of a node, its bias, and the scale and zero point of its result.
type Inputs = (Vec<Quantized>, Option<String>, Option<(String, String)>);

/// The nodes of a graph while they are replaced.
struct Writer {
    nodes: Vec<NodeProto>,
    /// New constants.
    constants: Vec<TensorProto>,
    /// The float32 constants of the graph that may be scales.
    scales: HashMap<String, Vec<f32>>,
    taken: Taken,
    /// Scale and zero point of each value that has been computed as 8-bit numbers.
    known: HashMap<String, (String, String)>,
}

impl Writer {
    fn new(graph: &GraphProto) -> Writer {
        let is_scale = |tensor: &&TensorProto| {
            tensor.data_type == DataType::Float as i32 && tensor.dims.len() <= 1
        };
        let scales = graph.initializer.iter().filter(is_scale);
        Writer {
            nodes: Vec::with_capacity(graph.node.len()),
            constants: Vec::new(),
            scales: scales.map(|tensor| (tensor.name.clone(), floats(tensor))).collect(),
            taken: Taken::of(graph),
            known: HashMap::new(),
        }
    }

    /// Keeps a node that is not of the format. A `MaxPool` of 8-bit numbers is one of what these stand for.
    fn keep(&mut self, mut node: NodeProto) {
        let is_one =
            |scale: &String| self.scales.get(scale).is_some_and(|scales| scales.len() == 1);
        let scale = node.input.first().and_then(|name| self.known.get(name));
        let scale = scale.filter(|(scale, _)| is_one(scale)).cloned();
        match (&*node.op_type, scale, &node.output[..]) {
            ("MaxPool", Some((scale, zero_point)), [output]) => {
                let (output, value) = (output.clone(), node.input[0].clone());
                let operand =
                    Quantized { value, scale: scale.clone(), zero_point: zero_point.clone() };
                node.input[0] = self.dequantize(&output, &operand, None);
                self.put_quantized(node, scale, zero_point);
            }
            (
                "Flatten" | "Identity" | "Reshape" | "Squeeze" | "Transpose" | "Unsqueeze",
                Some(known),
                [output],
            ) => {
                self.known.insert(output.clone(), known);
                self.nodes.push(node);
            }
            ("QuantizeLinear", _, [output]) if node.input.len() >= 2 => {
                let zero_point = node.input.get(2).cloned().unwrap_or_default();
                self.known.insert(output.clone(), (node.input[1].clone(), zero_point));
                self.nodes.push(node);
            }
            _ => self.nodes.push(node),
        }
    }

    /// Writes a node of float32, and quantises its result.
    fn put_quantized(&mut self, mut node: NodeProto, scale: String, zero_point: String) {
        let output = std::mem::take(&mut node.output[0]);
        self.known.insert(output.clone(), (scale.clone(), zero_point.clone()));
        let float = self.taken.fresh(&output);
        node.output[0] = float.clone();
        self.nodes.push(node);
        self.nodes.push(new_node(
            "QuantizeLinear",
            vec![float, scale, zero_point],
            output,
            Vec::new(),
        ));
    }

    fn replace(
        &mut self,
        mut node: NodeProto,
        operator: &str,
        operands: &Operands,
    ) -> Result<(), Error> {
        supported(&node)?;
        let (quantized, bias, result) = operands_of(&node, operands)?;
        let axis = weight_axis(&node);
        let [output] = &node.output[..] else {
            return Err(Error::Graph(format!("{}: it has more than one result", called(&node))));
        };
        let output = output.clone();
        let mut inputs = Vec::new();
        for (position, operand) in quantized.iter().enumerate() {
            let axis = if position == 1 { axis } else { None };
            inputs.push(self.dequantize(&output, operand, axis));
        }
        if let (Some(bias), [x, weight]) = (bias, &quantized[..]) {
            let scale = self.product(&output, &x.scale, &weight.scale);
            let bias = Quantized { value: bias, scale, zero_point: String::new() };
            inputs.push(self.dequantize(&output, &bias, Some(0)));
        }
        node.op_type = operator.to_owned();
        node.domain = String::new();
        node.input = inputs;
        node.attribute.retain(|attribute| !matches!(&*attribute.name, "channels_last" | "opset"));
        match result {
            None => self.nodes.push(node),
            Some((scale, zero_point)) => self.put_quantized(node, scale, zero_point),
        }
        Ok(())
    }

    /// The name of an operand as float32.
    fn dequantize(&mut self, output: &str, operand: &Quantized, axis: Option<i64>) -> String {
        let Quantized { value, scale, zero_point } = operand;
        let name = self.taken.fresh(output);
        let inputs = vec![value.clone(), scale.clone(), zero_point.clone()];
        let attributes = axis.map(|axis| integer("axis", axis)).into_iter().collect();
        self.nodes.push(new_node("DequantizeLinear", inputs, name.clone(), attributes));
        name
    }

    /// The name of the product of two scales.
    fn product(&mut self, output: &str, first: &str, second: &str) -> String {
        let name = self.taken.fresh(output);
        let (one, each) = match [first, second].map(|name| self.scales.get(name)) {
            [Some(one), Some(each)] | [Some(each), Some(one)] if one.len() == 1 => (one, each),
            _ => {
                let inputs = vec![first.to_owned(), second.to_owned()];
                self.nodes.push(new_node("Mul", inputs, name.clone(), Vec::new()));
                return name;
            }
        };
        let products: Vec<f32> = each.iter().map(|scale| scale * one[0]).collect();
        self.constants.push(constant(name.clone(), products));
        name
    }
}

/// What the inputs of a node are.
fn operands_of(node: &NodeProto, operands: &Operands) -> Result<Inputs, Error> {
    let input = |position: usize| {
        let name = node.input.get(position).filter(|name| !name.is_empty());
        name.cloned()
            .ok_or_else(|| Error::Graph(format!("{}: input {position} is missing", called(node))))
    };
    let optional = |position: usize| node.input.get(position).cloned().unwrap_or_default();
    let quantized = |start: usize| -> Result<Quantized, Error> {
        let (value, scale) = (input(start)?, input(start + 1)?);
        Ok(Quantized { value, scale, zero_point: optional(start + 2) })
    };
    let several = |start: usize, count: usize| -> Result<Vec<Quantized>, Error> {
        (0..count).map(|k| quantized(start + 3 * k)).collect()
    };
    let present = |position: usize| Some(optional(position)).filter(|name| !name.is_empty());
    Ok(match *operands {
        Operands::Quantized(count) => {
            let result = (input(3 * count)?, optional(3 * count + 1));
            (several(0, count)?, None, Some(result))
        }
        Operands::BiasLast => (several(0, 2)?, present(8), Some((input(6)?, optional(7)))),
        Operands::BiasBeforeResult => {
            let result = present(7).map(|scale| (scale, optional(8)));
            (several(0, 2)?, present(6), result)
        }
        Operands::ResultFirst => {
            let count = node.input.len().saturating_sub(2).div_ceil(3);
            (several(2, count)?, None, Some((input(0)?, optional(1))))
        }
    })
}

/// The axis along which the weights of a convolution or a product have their scales: that of the results.
fn weight_axis(node: &NodeProto) -> Option<i64> {
    match node.op_type.as_str() {
        "QLinearConv" => Some(0),
        "QGemm" if number(node, "transB") == Some(1) => Some(0),
        "QGemm" => Some(1),
        "QLinearMatMul" => Some(-1),
        _ => None,
    }
}

/// What the float32 operator cannot say.
fn supported(node: &NodeProto) -> Result<(), Error> {
    let refused = |what: &str| Err(Error::Graph(format!("{}: {what}", called(node))));
    if number(node, "channels_last").is_some_and(|last| last != 0) {
        return refused("channels_last is not supported");
    }
    // Before version 13 a softmax is taken over all axes from this one on: the same for the last.
    if node.op_type == "QLinearSoftmax" && number(node, "axis").is_some_and(|axis| axis != -1) {
        return refused("another axis than the last is not supported");
    }
    Ok(())
}
