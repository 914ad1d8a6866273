//! What cannot be executed is refused in one line and costs nothing: functions that call themselves,
//! loops without end, bfloat16 arithmetic, operators that nobody knows.

#![allow(clippy::unwrap_used, missing_docs)]

use derm_model::{Graph, ModelSource};
use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TypeProto, ValueInfoProto, type_proto,
};

const MANIFEST: &str = "name = \"test\"\noutput = \"logits\"\n[input]\nheight = 6\nwidth = 6\n\
    mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\nfit = \"stretch\"\n\
    [[classes]]\nid = \"a\"\n[[classes]]\nid = \"b\"\n";

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: operator.to_owned(),
        name: format!("the {operator}"),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

fn of(domain: &str, node: NodeProto) -> NodeProto {
    NodeProto { domain: domain.to_owned(), ..node }
}

fn with(mut node: NodeProto, attribute: AttributeProto) -> NodeProto {
    node.attribute.push(attribute);
    node
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: kind as i32, ..AttributeProto::default() }
}

fn value(name: &str, kind: DataType) -> ValueInfoProto {
    let tensor = type_proto::Tensor { elem_type: kind as i32, shape: None };
    let kind =
        TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.to_owned(), r#type: Some(kind), ..ValueInfoProto::default() }
}

/// The refusal of a model of these nodes, from `x` to `y`.
fn refusal(nodes: Vec<NodeProto>, functions: Vec<FunctionProto>, opset: i64) -> String {
    let tensor = |name: &str, data_type: DataType, dims: Vec<i64>, raw_data: Vec<u8>| TensorProto {
        name: name.to_owned(),
        data_type: data_type as i32,
        dims,
        raw_data,
        ..TensorProto::default()
    };
    let graph = GraphProto {
        node: nodes,
        initializer: vec![
            tensor("many", DataType::Int64, vec![], (i64::MAX).to_le_bytes().to_vec()),
            tensor("true", DataType::Bool, vec![], vec![1]),
        ],
        input: vec![value("x", DataType::Float)],
        output: vec![value("y", DataType::Float)],
        ..GraphProto::default()
    };
    let model = ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: opset }],
        graph: Some(graph),
        functions,
        ..ModelProto::default()
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.onnx"), model.encode_to_vec()).unwrap();
    std::fs::write(folder.path().join("model.toml"), MANIFEST).unwrap();
    let error = Graph::load(&ModelSource::at(folder.path())).expect_err("a refusal").to_string();
    assert!(error.len() < 600 && !error.contains("panicked"), "{error}");
    error
}

fn function(name: &str, nodes: Vec<NodeProto>) -> FunctionProto {
    FunctionProto {
        name: Some(name.to_owned()),
        domain: Some("own".to_owned()),
        input: vec!["a".to_owned()],
        output: vec!["r".to_owned()],
        node: nodes,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        ..FunctionProto::default()
    }
}

#[test]
fn a_function_that_calls_itself_is_refused() {
    let itself = function("f", vec![of("own", node("f", &["a"], "r"))]);
    let message = refusal(vec![of("own", node("f", &["x"], "y"))], vec![itself], 17);
    assert!(message.contains("(f): functions call others too deeply"), "{message}");
}

/// Thirty functions, each of which calls the next one twice.
#[test]
fn functions_that_double_at_each_level_are_refused_early() {
    let mut functions = vec![function("f30", vec![node("Relu", &["a"], "r")])];
    for level in 0..30 {
        let next = format!("f{}", level + 1);
        let calls = vec![of("own", node(&next, &["a"], "m")), of("own", node(&next, &["m"], "r"))];
        functions.push(function(&format!("f{level}"), calls));
    }
    let message = refusal(vec![of("own", node("f0", &["x"], "y"))], functions, 17);
    assert!(message.contains("its functions") && message.contains("more than"), "{message}");
}

#[test]
fn a_function_for_another_version_of_the_standard_is_refused() {
    let relu = function("f", vec![node("Relu", &["a"], "r")]);
    let message = refusal(vec![of("own", node("f", &["x"], "y"))], vec![relu], 13);
    assert!(message.contains("another version of the standard"), "{message}");
}

/// The loop of a body: `v` becomes `-v`; the condition is `condition`.
fn looped(condition: NodeProto, count: &str) -> NodeProto {
    let body = GraphProto {
        node: vec![node("Neg", &["v"], "o"), condition],
        input: vec![
            value("i", DataType::Int64),
            value("go", DataType::Bool),
            value("v", DataType::Float),
        ],
        output: vec![value("on", DataType::Bool), value("o", DataType::Float)],
        ..GraphProto::default()
    };
    let attribute = AttributeProto { g: Some(body), ..attribute("body", AttributeType::Graph) };
    with(node("Loop", &[count, "true", "x"], "y"), attribute)
}

#[test]
fn loops_without_end_and_loops_that_the_picture_ends_are_refused() {
    let endless = looped(node("Identity", &["go"], "on"), "many");
    let message = refusal(vec![endless], Vec::new(), 17);
    assert!(message.contains("more than 1024 rounds"), "{message}");
    let dependent = with(
        node("ReduceMax", &["v"], "m"),
        AttributeProto { i: 0, ..attribute("keepdims", AttributeType::Int) },
    );
    let mut looped = looped(node("Greater", &["m", "m"], "on"), "many");
    if let Some(body) = looped.attribute[0].g.as_mut() {
        body.node.insert(0, dependent);
    }
    let message = refusal(vec![looped], Vec::new(), 17);
    assert!(message.contains("Loop") && message.contains("depends on the picture"), "{message}");
}

#[test]
fn arithmetic_in_bfloat16_is_refused_by_the_name_of_the_node() {
    let to = AttributeProto { i: DataType::Bfloat16 as i64, ..attribute("to", AttributeType::Int) };
    let message = refusal(vec![with(node("Cast", &["x"], "y"), to)], Vec::new(), 17);
    assert!(message.contains("the Cast (Cast): computing in bfloat16"), "{message}");
}

#[test]
fn an_unknown_operator_is_named_with_its_node_and_domain() {
    let message = refusal(vec![of("org.example", node("Frobnicate", &["x"], "y"))], Vec::new(), 17);
    assert!(message.contains("the Frobnicate (Frobnicate)"), "{message}");
    assert!(message.contains("of org.example is not supported"), "{message}");
}

#[test]
fn quantised_operators_without_their_inputs_are_refused() {
    for (domain, operator) in [
        ("", "QLinearConv"),
        ("", "QLinearMatMul"),
        ("com.microsoft", "QGemm"),
        ("com.microsoft", "QLinearAdd"),
        ("com.microsoft", "QLinearConcat"),
        ("com.microsoft", "QLinearSigmoid"),
    ] {
        for inputs in [&[] as &[&str], &["x"], &["", ""], &["x", "many", "", "x"]] {
            let message = refusal(vec![of(domain, node(operator, inputs, "y"))], Vec::new(), 17);
            assert!(message.contains(operator) || message.contains("y"), "{message}");
        }
    }
}

/// What is recognised as dynamic quantisation has all its inputs.
#[test]
fn a_dynamic_product_without_its_weights_is_refused() {
    for [numbers, scale, zero_point] in
        [["q", "s", "z"], ["q", "s", ""], ["", "s", "z"], ["", "", ""]]
    {
        for inputs in [&[numbers] as &[&str], &[numbers, "", zero_point], &[]] {
            let quantize = NodeProto {
                output: [numbers, scale, zero_point].map(str::to_owned).to_vec(),
                ..node("DynamicQuantizeLinear", &["x"], "")
            };
            let to =
                AttributeProto { i: DataType::Float as i64, ..attribute("to", AttributeType::Int) };
            let nodes = vec![
                quantize,
                node("ConvInteger", inputs, "sums"),
                with(node("Cast", &["sums"], "floats"), to),
                node("Mul", &["floats", "s"], "y"),
            ];
            refusal(nodes, Vec::new(), 17);
        }
    }
}
