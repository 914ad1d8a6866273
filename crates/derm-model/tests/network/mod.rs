//! A small classifier as an ONNX file, put together node by node.

#![allow(dead_code)] // each test file uses its part

use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension::Value as Length};
use tract_onnx::pb::type_proto::{Tensor, Value as TypeValue};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
};
use tract_onnx::prelude::f16;

pub(crate) const FLOAT: i32 = 1;
pub(crate) const UINT8: i32 = 2;
pub(crate) const INT8: i32 = 3;
pub(crate) const INT64: i32 = 7;
pub(crate) const STRING: i32 = 8;
pub(crate) const FLOAT16: i32 = 10;
pub(crate) const DOUBLE: i32 = 11;

/// A slice of any length, where arrays of several lengths meet.
pub(crate) fn dims(dims: &'static [i64]) -> &'static [i64] {
    dims
}

#[derive(Clone, Default)]
pub(crate) struct Network {
    graph: GraphProto,
    metadata: Vec<StringStringEntryProto>,
}

impl Network {
    /// Convolution, ReLU (`features`), pooling (`pooled`), `flat`, and a `Gemm` (`logits`) of an
    /// input of this name, `[1, channels, 8, 8]`.
    pub(crate) fn classifier(input: &str, channels: i64, classes: usize) -> Network {
        let mut network = Network::default();
        let classes = classes as i64;
        network.input(input, FLOAT, &[1, channels, 8, 8]);
        let weights = |count: i64, seed: i64| -> Vec<f64> {
            (0..count)
                .map(|index| ((index * 29 + index * index * 7 + seed) % 31 - 15) as f64 / 8.0)
                .collect()
        };
        network.tensor(
            "filters",
            FLOAT,
            &[4, channels, 3, 3],
            &weights(4 * channels * 9, 3).iter().map(|w| w / 64.0).collect::<Vec<_>>(),
        );
        network.tensor("matrix", FLOAT, &[classes, 4], &weights(classes * 4, 17));
        network.tensor("bias", FLOAT, &[classes], &weights(classes, 5));
        network.node("Conv", &[input, "filters"], "sums");
        network.node("Relu", &["sums"], "features");
        network.node("GlobalAveragePool", &["features"], "pooled");
        network.node("Flatten", &["pooled"], "flat");
        network.node("Gemm", &["flat", "matrix", "bias"], "logits");
        network.outputs(&[("logits", FLOAT, &[1, classes])]);
        network
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let domain =
            |domain: &str, version| OperatorSetIdProto { domain: domain.to_owned(), version };
        let model = ModelProto {
            ir_version: 8,
            opset_import: vec![domain("", 13), domain("ai.onnx.ml", 3)],
            graph: Some(self.graph.clone()),
            metadata_props: self.metadata.clone(),
            ..Default::default()
        };
        model.encode_to_vec()
    }

    /// Declares an input; replaces that of the same name, or the first if no node reads it.
    pub(crate) fn input(&mut self, name: &str, element: i32, shape: &[i64]) {
        let computed = |other: &ValueInfoProto| other.name == "x" && name != "x";
        self.graph.input.retain(|other| other.name != name && !computed(other));
        self.graph.input.push(value(name, element, shape));
    }

    pub(crate) fn outputs(&mut self, outputs: &[(&str, i32, &[i64])]) {
        let declared = outputs.iter().map(|&(name, element, shape)| {
            let mut value = value(name, element, shape);
            if shape.is_empty() {
                let Some(kind) = &mut value.r#type else { return value };
                if let Some(TypeValue::TensorType(tensor)) = &mut kind.value {
                    tensor.shape = None;
                }
            }
            value
        });
        self.graph.output = declared.collect();
    }

    /// An output of which nothing but its name is declared.
    pub(crate) fn undeclared_output(&mut self, name: &str) {
        self.graph.output = vec![ValueInfoProto { name: name.to_owned(), ..Default::default() }];
    }

    pub(crate) fn tensor(&mut self, name: &str, element: i32, shape: &[i64], values: &[f64]) {
        self.graph.initializer.push(TensorProto {
            name: name.to_owned(),
            data_type: element,
            dims: shape.to_vec(),
            raw_data: raw(element, values),
            ..Default::default()
        });
    }

    pub(crate) fn metadata(&mut self, key: &str, value: &str) {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.metadata.push(StringStringEntryProto { key, value });
    }

    /// Appends a node; `Cast:1` has an attribute, `domain/ZipMap` a domain.
    pub(crate) fn node(&mut self, operator: &str, inputs: &[&str], output: &str) {
        let (domain, operator) = operator.rsplit_once('/').unwrap_or(("", operator));
        let (operator, number) = operator.split_once(':').unwrap_or((operator, ""));
        let integer = |name: &str, i| AttributeProto {
            name: name.to_owned(),
            r#type: AttributeType::Int as i32,
            i,
            ..Default::default()
        };
        let attribute = match operator {
            "Cast" => vec![integer("to", number.parse().unwrap())],
            "Softmax" | "Concat" | "DequantizeLinear" => {
                vec![integer("axis", number.parse().unwrap())]
            }
            "Gemm" => vec![integer("transB", 1)],
            "Conv" if !number.is_empty() => vec![integer("group", number.parse().unwrap())],
            "Transpose" => {
                let ints = number.split(',').map(|axis| axis.parse().unwrap()).collect();
                let r#type = AttributeType::Ints as i32;
                vec![AttributeProto { name: "perm".to_owned(), r#type, ints, ..Default::default() }]
            }
            "ArgMax" => vec![integer("axis", 1), integer("keepdims", 0)],
            _ => Vec::new(),
        };
        self.graph.node.push(NodeProto {
            name: format!("node_{output}"),
            op_type: operator.to_owned(),
            domain: domain.to_owned(),
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute,
            ..Default::default()
        });
    }

    /// Makes a node another operator with these inputs.
    pub(crate) fn replace(&mut self, operator: &str, other: &str, inputs: &[&str]) {
        let node = self.graph.node.iter_mut().find(|node| node.op_type == operator).unwrap();
        other.clone_into(&mut node.op_type);
        node.input = inputs.iter().map(|input| (*input).to_owned()).collect();
    }

    /// Makes every float32 tensor, input and output of this type.
    pub(crate) fn convert(&mut self, element: i32) {
        for tensor in &mut self.graph.initializer {
            let values: Vec<f64> = tensor
                .raw_data
                .as_chunks::<4>()
                .0
                .iter()
                .map(|&bytes| f32::from_le_bytes(bytes).into())
                .collect();
            tensor.raw_data = raw(element, &values);
            tensor.data_type = element;
        }
        let values = self.graph.input.iter_mut().chain(&mut self.graph.output);
        for TypeValue::TensorType(tensor) in
            values.filter_map(|value| value.r#type.as_mut()?.value.as_mut())
        {
            tensor.elem_type = element;
        }
    }
}

fn raw(element: i32, values: &[f64]) -> Vec<u8> {
    let bytes = |&value: &f64| match element {
        FLOAT => (value as f32).to_le_bytes().to_vec(),
        DOUBLE => value.to_le_bytes().to_vec(),
        FLOAT16 => f16::from_f64(value).to_le_bytes().to_vec(),
        INT64 => (value as i64).to_le_bytes().to_vec(),
        UINT8 => vec![value as u8],
        INT8 => (value as i8).to_le_bytes().to_vec(),
        other => panic!("{other}"),
    };
    values.iter().flat_map(bytes).collect()
}

/// A free dimension is -1; an element type of -1 declares no tensor.
fn value(name: &str, element: i32, shape: &[i64]) -> ValueInfoProto {
    let length = |&length: &i64| Dimension {
        value: Some(match length {
            -1 => Length::DimParam("n".to_owned()),
            length => Length::DimValue(length),
        }),
        ..Default::default()
    };
    let shape = Some(TensorShapeProto { dim: shape.iter().map(length).collect() });
    let tensor = TypeValue::TensorType(Tensor { elem_type: element, shape });
    let kind = TypeProto { value: (element >= 0).then_some(tensor), ..Default::default() };
    ValueInfoProto { name: name.to_owned(), r#type: Some(kind), ..Default::default() }
}
