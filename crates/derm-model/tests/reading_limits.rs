//! What a small file may take while it is read: graphs that ask for more are refused by the name of the node, before
//! the memory is taken.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../derm-preprocess/tests/common/counting.rs"]
mod counting;

use counting::HELD;
use derm_model::{EngineOptions, Graph, ModelSource, PackedWeightCache, Plan};
use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension::Value as Length};
use tract_onnx::pb::type_proto::{Tensor, Value as TypeValue};
use tract_onnx::pb::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
};

/// Bytes that reading a file of a few kilobytes may hold.
const MEMORY: isize = 64 << 20;
const MANIFEST: &str = "name = \"budget\"\noutput = \"logits\"\n[input]\nheight = 8\nwidth = 8\nfit = \"stretch\"\n\
                        [[classes]]\nid = \"a\"\n[[classes]]\nid = \"b\"\n[[classes]]\nid = \"c\"\n";

/// A graph that is put together: of its input `x`, `[1, 3, 8, 8]`, the means of the channels are the scores, to which the
/// mean of what is put in is added.
#[derive(Default)]
struct Small {
    graph: GraphProto,
    functions: Vec<FunctionProto>,
}

impl Small {
    fn ints(&mut self, values: &[i64]) -> String {
        self.tensor(&[values.len() as i64], values)
    }

    fn tensor(&mut self, dims: &[i64], values: &[i64]) -> String {
        let name = format!("c{}", self.graph.initializer.len());
        let tensor = TensorProto {
            name: name.clone(),
            dims: dims.to_vec(),
            data_type: 7,
            int64_data: values.to_vec(),
            ..Default::default()
        };
        self.graph.initializer.push(tensor);
        name
    }

    fn floats(&mut self, dims: &[i64], value: f32) -> String {
        let name = format!("c{}", self.graph.initializer.len());
        let tensor = TensorProto {
            name: name.clone(),
            dims: dims.to_vec(),
            data_type: 1,
            float_data: vec![value; dims.iter().product::<i64>() as usize],
            ..Default::default()
        };
        self.graph.initializer.push(tensor);
        name
    }

    fn node(&mut self, operator: &str, inputs: &[&str], attributes: &[AttributeProto]) -> String {
        let name = format!("n{}", self.graph.node.len());
        self.named(&name, operator, inputs, attributes)
    }

    /// The node that errors are to name.
    fn big(&mut self, operator: &str, inputs: &[&str], attributes: &[AttributeProto]) -> String {
        self.named("big", operator, inputs, attributes)
    }

    fn named(
        &mut self,
        name: &str,
        operator: &str,
        inputs: &[&str],
        attributes: &[AttributeProto],
    ) -> String {
        self.graph.node.push(node(name, operator, inputs, attributes));
        name.to_owned()
    }

    /// The file, with `value` as a part of the scores.
    fn file(mut self, value: &str) -> Vec<u8> {
        let float = self.node("Cast", &[value], &[int("to", 1)]);
        let flat = self.ints(&[-1]);
        let flat = self.node("Reshape", &[&float, &flat], &[]);
        let mean = self.node("ReduceMean", &[&flat], &[ints("axes", &[0]), int("keepdims", 1)]);
        let means = self.node("GlobalAveragePool", &["x"], &[]);
        let means = self.node("Flatten", &[&means], &[]);
        self.named("scores", "Add", &[&means, &mean], &[]);
        self.graph.input = vec![declared("x", &[1, 3, 8, 8])];
        self.graph.output = vec![declared("scores", &[1, 3])];
        let domain =
            |domain: &str, version| OperatorSetIdProto { domain: domain.to_owned(), version };
        let model = ModelProto {
            ir_version: 9,
            opset_import: vec![domain("", 17), domain("own", 1)],
            graph: Some(self.graph),
            functions: self.functions,
            ..Default::default()
        };
        model.encode_to_vec()
    }
}

fn node(name: &str, operator: &str, inputs: &[&str], attributes: &[AttributeProto]) -> NodeProto {
    NodeProto {
        name: name.to_owned(),
        op_type: operator.to_owned(),
        domain: if operator.starts_with("own") { "own".to_owned() } else { String::new() },
        input: inputs.iter().map(|input| (*input).to_owned()).collect(),
        output: vec![name.to_owned()],
        attribute: attributes.to_vec(),
        ..Default::default()
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: kind as i32, ..Default::default() }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i, ..attribute(name, AttributeType::Int) }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { ints: ints.to_vec(), ..attribute(name, AttributeType::Ints) }
}

fn text(name: &str, text: &str) -> AttributeProto {
    AttributeProto { s: text.into(), ..attribute(name, AttributeType::String) }
}

fn graph(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto { g: Some(graph), ..attribute(name, AttributeType::Graph) }
}

fn declared(name: &str, shape: &[i64]) -> ValueInfoProto {
    let dim =
        |&length: &i64| Dimension { value: Some(Length::DimValue(length)), ..Default::default() };
    let shape = Some(TensorShapeProto { dim: shape.iter().map(dim).collect() });
    let value = Some(TypeValue::TensorType(Tensor { elem_type: 1, shape }));
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { value, ..Default::default() }),
        ..Default::default()
    }
}

/// A value of a name only.
fn untyped(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: name.to_owned(), ..Default::default() }
}

/// Reads and compiles a file; the error, and the most bytes that were held.
fn read(file: Vec<u8>, max_run_bytes: usize) -> (Result<Plan, derm_model::Error>, isize) {
    let model: &'static [u8] = file.leak();
    HELD.set((0, 0));
    let source = ModelSource::Embedded { model, manifest: MANIFEST };
    let result = Graph::load(&source).and_then(|graph| {
        let allow_unverified = true;
        let options = EngineOptions { allow_unverified, max_run_bytes, ..EngineOptions::default() };
        Plan::new(&graph, &options, &mut PackedWeightCache::default())
    });
    (result, HELD.get().1)
}

/// Unless the file is refused by the name of the node, and took no memory: what happened.
fn fault(what: &str, file: Vec<u8>) -> Option<String> {
    assert!(file.len() < 20_000, "{what}: {} bytes", file.len());
    let (result, held) = read(file, 256 << 20);
    let message = match result {
        Ok(plan) => format!("not refused, {} bytes for a run", plan.arena_bytes()),
        Err(error) => error.to_string(),
    };
    let is_right = held <= MEMORY && message.contains("big");
    (!is_right).then(|| format!("{what}: {held} bytes: {message}"))
}

/// Fails unless a file is refused by the name of the node, and took no memory.
fn refused(what: &str, file: Vec<u8>) {
    assert_eq!(fault(what, file), None);
}

const HUGE: i64 = 1 << 15;

#[test]
fn constants_of_any_size_are_refused_by_name_before_they_are_made() {
    type Make = fn(&mut Small) -> String;
    let cases: [(&str, Make); 21] = [
        ("ConstantOfShape", |g| {
            let shape = g.ints(&[HUGE, HUGE]);
            g.big("ConstantOfShape", &[&shape], &[])
        }),
        ("Expand", |g| {
            let (one, shape) = (g.floats(&[1], 1.0), g.ints(&[HUGE, HUGE]));
            g.big("Expand", &[&one, &shape], &[])
        }),
        ("Expand of many values", |g| {
            let (row, shape) = (g.floats(&[1, 64], 1.0), g.ints(&[HUGE * 64, 64]));
            g.big("Expand", &[&row, &shape], &[])
        }),
        ("Tile", |g| {
            let (row, times) = (g.floats(&[1, 64], 1.0), g.ints(&[HUGE, HUGE]));
            g.big("Tile", &[&row, &times], &[])
        }),
        ("Range", |g| {
            let [start, end, step] = [0, 1 << 32, 1].map(|n| g.tensor(&[], &[n]));
            g.big("Range", &[&start, &end, &step], &[])
        }),
        ("Range of fractions", |g| {
            let [start, end, step] = [0.0, 1.0, 1e-8].map(|n| g.floats(&[], n));
            g.big("Range", &[&start, &end, &step], &[])
        }),
        ("Pad", |g| {
            let (row, pads) = (g.floats(&[8, 8], 1.0), g.ints(&[0, HUGE, HUGE, 0]));
            g.big("Pad", &[&row, &pads], &[])
        }),
        ("Resize", |g| {
            let (row, sizes) = (g.floats(&[1, 1, 8, 8], 1.0), g.ints(&[1, 1, HUGE, HUGE]));
            g.big("Resize", &[&row, "", "", &sizes], &[])
        }),
        ("OneHot", |g| {
            let (row, depth) = (g.tensor(&[64], &[1; 64]), g.tensor(&[], &[1 << 30]));
            let values = g.floats(&[2], 1.0);
            g.big("OneHot", &[&row, &depth, &values], &[])
        }),
        ("Concat", |g| {
            let shape = g.ints(&[1024, 1024]);
            let part = g.node("ConstantOfShape", &[&shape], &[]);
            g.big("Concat", &[part.as_str(); 512], &[int("axis", 0)])
        }),
        ("Gather", |g| {
            let (row, shape) = (g.floats(&[1, 1024], 1.0), g.ints(&[1 << 18]));
            let value = TensorProto {
                dims: vec![1],
                data_type: 7,
                int64_data: vec![0],
                ..Default::default()
            };
            let value =
                AttributeProto { t: Some(value), ..attribute("value", AttributeType::Tensor) };
            let places = g.node("ConstantOfShape", &[&shape], &[value]);
            g.big("Gather", &[&row, &places], &[int("axis", 0)])
        }),
        ("Mul", |g| {
            let (tall, wide) = (g.ints(&[HUGE, 1]), g.ints(&[1, HUGE]));
            let tall = g.node("ConstantOfShape", &[&tall], &[]);
            let wide = g.node("ConstantOfShape", &[&wide], &[]);
            let product = g.big("Mul", &[&tall, &wide], &[]);
            let flat = g.ints(&[1, -1]);
            g.node("Reshape", &[&product, &flat], &[])
        }),
        ("MatMul of few values to many", |g| {
            let (tall, wide) = (g.ints(&[HUGE, 1]), g.ints(&[1, HUGE]));
            let tall = g.node("ConstantOfShape", &[&tall], &[]);
            let wide = g.node("ConstantOfShape", &[&wide], &[]);
            g.big("MatMul", &[&tall, &wide], &[])
        }),
        ("MatMul of many values", |g| {
            let side = g.ints(&[1024, 1024]);
            let side = g.node("ConstantOfShape", &[&side], &[]);
            g.big("MatMul", &[&side, &side], &[])
        }),
        ("Einsum", |g| {
            let side = g.ints(&[HUGE]);
            let side = g.node("ConstantOfShape", &[&side], &[]);
            g.big("Einsum", &[&side, &side], &[text("equation", "i,j->ij")])
        }),
        ("AffineGrid", |g| {
            let (map, size) = (g.floats(&[1, 2, 3], 1.0), g.ints(&[1, 3, HUGE, HUGE]));
            g.big("AffineGrid", &[&map, &size], &[])
        }),
        ("CenterCropPad", |g| {
            let (row, size) = (g.floats(&[8, 8], 1.0), g.ints(&[HUGE, HUGE]));
            g.big("CenterCropPad", &[&row, &size], &[])
        }),
        ("MaxUnpool", |g| {
            let (row, places) = (g.floats(&[1, 1, 2, 2], 1.0), g.tensor(&[1, 1, 2, 2], &[0; 4]));
            let size = g.ints(&[1, 1, HUGE, HUGE]);
            g.big("MaxUnpool", &[&row, &places, &size], &[ints("kernel_shape", &[2, 2])])
        }),
        ("Upsample", |g| {
            let (row, scales) = (g.floats(&[1, 1, 8, 8], 1.0), g.floats(&[4], 4096.0));
            g.big("Upsample", &[&row, &scales], &[])
        }),
        ("EyeLike", |g| {
            let shape = g.ints(&[HUGE, HUGE]);
            let large = g.big("ConstantOfShape", &[&shape], &[]);
            g.node("EyeLike", &[&large], &[])
        }),
        ("RandomNormal", |g| g.big("RandomNormal", &[], &[ints("shape", &[HUGE, HUGE])])),
    ];
    let faults = cases.iter().filter_map(|(what, make)| {
        let mut small = Small::default();
        let value = make(&mut small);
        fault(what, small.file(&value))
    });
    assert_eq!(faults.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn values_of_the_picture_of_any_size_are_refused_by_name() {
    type Make = fn(&mut Small) -> String;
    let cases: [(&str, Make); 7] = [
        ("Pad", |g| {
            let pads = g.ints(&[0, 0, HUGE, HUGE, 0, 0, HUGE, HUGE]);
            g.big("Pad", &["x", &pads], &[])
        }),
        ("Conv", |g| {
            let weights = g.floats(&[1, 3, 1, 1], 1.0);
            g.big("Conv", &["x", &weights], &[ints("pads", &[HUGE; 4])])
        }),
        ("ConvTranspose", |g| {
            let weights = g.floats(&[3, 1, 1, 1], 1.0);
            g.big("ConvTranspose", &["x", &weights], &[ints("strides", &[HUGE, HUGE])])
        }),
        ("Tile", |g| {
            let times = g.ints(&[1, 1 << 20, 1 << 20, 1]);
            g.big("Tile", &["x", &times], &[])
        }),
        ("Tile beyond 64 bits", |g| {
            let times = g.ints(&[1, 1 << 30, 1 << 30, 1]);
            g.big("Tile", &["x", &times], &[])
        }),
        ("MaxPool", |g| {
            let window = [ints("kernel_shape", &[HUGE, HUGE]), ints("pads", &[HUGE / 2; 4])];
            g.big("MaxPool", &["x"], &window)
        }),
        ("less than the largest value, more than a run may take", |g| {
            let pads = g.ints(&[0, 0, 4096, 4096, 0, 0, 4096, 4096]);
            g.big("Pad", &["x", &pads], &[])
        }),
    ];
    let faults = cases.iter().filter_map(|(what, make)| {
        let mut small = Small::default();
        let value = make(&mut small);
        fault(what, small.file(&value))
    });
    assert_eq!(faults.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn tensors_without_their_values_are_refused() {
    for (dims, bytes) in [(vec![1 << 40], 0), (vec![1 << 20, 1 << 20], 4), (vec![i64::MAX, 4], 16)]
    {
        let mut small = Small::default();
        small.graph.initializer.push(TensorProto {
            name: "big".to_owned(),
            dims: dims.clone(),
            data_type: 1,
            raw_data: vec![0; bytes],
            ..Default::default()
        });
        let (result, held) = read(small.file("big"), 1 << 30);
        assert!(result.is_err() && held <= MEMORY, "{dims:?}: {held} bytes");
    }
}

#[test]
fn loops_of_growing_values_are_refused() {
    for count in [1000, i64::MAX] {
        let mut small = Small::default();
        let body = GraphProto {
            node: vec![
                node("again", "Identity", &["go"], &[]),
                node("twice", "Concat", &["before", "before"], &[int("axis", 0)]),
            ],
            input: ["round", "go", "before"].map(untyped).to_vec(),
            output: ["again", "twice"].map(untyped).to_vec(),
            ..Default::default()
        };
        let (rounds, start) = (small.tensor(&[], &[count]), small.floats(&[64], 1.0));
        let value = small.big("Loop", &[&rounds, "", &start], &[graph("body", body)]);
        refused("Loop", small.file(&value));
    }
}

#[test]
fn graphs_inside_graphs_are_read_a_bounded_number_of_times() {
    // Both branches at each of the levels that the format permits.
    let mut branch = GraphProto {
        node: vec![node("leaf", "Identity", &["inner"], &[])],
        output: vec![untyped("leaf")],
        ..Default::default()
    };
    for level in 0..24 {
        let (name, other) = (format!("if{level}"), format!("other{level}"));
        let small = GraphProto {
            node: vec![node(&other, "Identity", &["inner"], &[])],
            output: vec![untyped(&other)],
            ..Default::default()
        };
        let choice = [graph("then_branch", branch), graph("else_branch", small)];
        branch = GraphProto {
            node: vec![node(&name, "If", &["condition"], &choice)],
            output: vec![untyped(&name)],
            ..Default::default()
        };
    }
    let mut small = Small::default();
    let mean = small.node("ReduceMean", &["x"], &[int("keepdims", 0)]);
    small.named("inner", "Identity", &[&mean], &[]);
    let zero = small.floats(&[], 0.0);
    small.named("condition", "Greater", &[&mean, &zero], &[]);
    let choice = [graph("then_branch", branch.clone()), graph("else_branch", branch)];
    let value = small.big("If", &["condition"], &choice);
    let (result, held) = read(small.file(&value), 1 << 30);
    assert!(held <= MEMORY, "{held} bytes");
    assert!(result.is_ok() || result.is_err_and(|error| error.to_string().contains("big")));
}

#[test]
fn functions_that_call_others_twice_are_refused() {
    let mut small = Small::default();
    for level in 0..24 {
        let callee = if level == 0 { "Relu".to_owned() } else { format!("own{}", level - 1) };
        small.functions.push(FunctionProto {
            name: Some(format!("own{level}")),
            domain: Some("own".to_owned()),
            input: vec!["a".to_owned()],
            output: vec!["c".to_owned()],
            node: vec![node("b", &callee, &["a"], &[]), node("c", &callee, &["b"], &[])],
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
            ..Default::default()
        });
    }
    let value = small.big("own23", &["x"], &[]);
    refused("functions", small.file(&value));
}

#[test]
fn an_axis_that_is_not_there_is_refused_without_a_panic() {
    for axis in [4, 65_536, -5] {
        let mut small = Small::default();
        let value = small.big("Softmax", &["x"], &[int("axis", axis)]);
        let (result, _) = read(small.file(&value), 1 << 20);
        let error = result.expect_err("there is no such axis");
        let is_ours = matches!(error, derm_model::Error::Graph(_));
        assert!(is_ours || error.to_string().contains("reading the model"), "{error}");
    }
}

#[test]
fn axes_beyond_those_of_any_tensor_are_refused() {
    for operator in ["LayerNormalization", "Softmax", "Flatten", "Concat"] {
        for number in [i64::MIN, i64::MAX, -1 << 40, 1 << 20] {
            let mut small = Small::default();
            let scale = small.floats(&[4], 1.0);
            let inputs =
                if operator == "LayerNormalization" { vec!["x", &*scale] } else { vec!["x"] };
            let value = small.big(operator, &inputs, &[int("axis", number)]);
            let (result, held) = read(small.file(&value), 1 << 30);
            let error = result.unwrap_err().to_string();
            assert!(error.contains(operator) && error.contains("axis"), "{error}");
            assert!(held <= MEMORY, "{operator} {number}: {held}");
        }
    }
}

#[test]
fn attributes_beyond_32_bits_are_refused_without_a_panic() {
    for operator in ["AveragePool", "ConvTranspose", "LpPool"] {
        for name in ["kernel_shape", "strides", "pads", "output_shape"] {
            for number in [i64::MIN, i64::MAX, 1 << 40] {
                let mut small = Small::default();
                let weights = small.floats(&[3, 1, 2, 2], 1.0);
                let inputs =
                    if operator == "ConvTranspose" { vec!["x", &*weights] } else { vec!["x"] };
                let count = if name == "pads" { 4 } else { 2 };
                let mut attributes = vec![ints(name, &vec![number; count])];
                if name != "kernel_shape" {
                    attributes.push(ints("kernel_shape", &[2, 2]));
                }
                let value = small.big(operator, &inputs, &attributes);
                let (result, held) = read(small.file(&value), 1 << 30);
                let error = result.unwrap_err().to_string();
                assert!(error.contains(operator) && error.contains(name), "{error}");
                assert!(held <= MEMORY, "{operator} {name} {number}: {held}");
            }
        }
    }
}

#[test]
fn constants_that_are_in_proportion_to_the_file_are_computed() {
    let mut small = Small::default();
    let shape = small.ints(&[512, 512]);
    let ones = small.node("ConstantOfShape", &[&shape], &[]);
    let sum = small.node("Add", &[&ones, &ones], &[]);
    let (result, _) = read(small.file(&sum), 1 << 20);
    result.unwrap();
}
