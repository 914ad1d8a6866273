//! Float16 weights: float32 weights are stored as float16, arithmetic stays float32.
//!
//! A weight `w` becomes a float16 tensor `w.f16` and a node `Cast(w.f16) -> w`. Nodes that read `w`
//! are unchanged, also in subgraphs, and a tensor that several nodes share is stored once.

use crate::Error;
use crate::messages::attribute_proto::AttributeType;
use crate::messages::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};
use crate::names::{names_in_use, unused};
use crate::tensor::{FLOAT, FLOAT16, data_bytes, floats, for_each_tensor};
use half::f16;
use half::slice::HalfFloatSliceExt;
use protobuf::Message;
use std::collections::HashSet;

/// Smaller tensors (scalars, short biases, bounds of a Clip) are not worth a Cast.
const MIN_ELEMENTS: usize = 64;
/// Largest rounding error allowed, relative to the tensor's largest absolute value. Float16 rounds to
/// 2^-12 of it where that value is a normal number, and far worse where it is subnormal.
const MAX_ERROR: f32 = 1.0 / 2048.0;

/// The result of [`narrow`].
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Size of the serialised model before.
    pub bytes_before: u64,
    /// Size after.
    pub bytes_after: u64,
    /// Number of tensors that are now float16.
    pub narrowed: usize,
    /// Tensors that stay float32, each with the reason.
    pub kept: Vec<Kept>,
}

/// A tensor that stays float32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The tensor's name.
    pub name: String,
    /// Why it stays float32.
    pub reason: String,
}

/// Narrows every float32 weight that float16 can represent.
///
/// # Errors
/// [`Error::AlreadyHalf`] and [`Error::NothingToNarrow`] where nothing can be narrowed;
/// [`Error::WrongLength`] for a malformed tensor.
pub fn narrow(model: &mut ModelProto) -> Result<Report, Error> {
    let mut report = Report { bytes_before: model.compute_size(), ..Report::default() };
    let mut names = names_in_use(model);
    if let Some(graph) = model.graph.as_mut() {
        narrow_graph(graph, &mut names, &mut report)?;
    }
    for function in &mut model.functions {
        narrow_constants(&mut function.node, &mut names, &mut report)?;
    }
    if report.narrowed == 0 {
        return Err(if has_half_weights(model) {
            Error::AlreadyHalf
        } else {
            Error::NothingToNarrow
        });
    }
    report.bytes_after = model.compute_size();
    Ok(report)
}

fn narrow_graph(
    graph: &mut GraphProto,
    names: &mut HashSet<String>,
    report: &mut Report,
) -> Result<(), Error> {
    // The type of a graph's input or output is part of its signature.
    let signature: HashSet<&str> =
        graph.input.iter().chain(&graph.output).map(|value| value.name.as_str()).collect();
    let mut casts = Vec::new();
    for tensor in &mut graph.initializer {
        if signature.contains(tensor.name.as_str()) {
            if tensor.data_type == FLOAT && data_bytes(tensor) >= 4 * MIN_ELEMENTS {
                let reason = "it is also an input or output of the graph".to_owned();
                report.kept.push(Kept { name: tensor.name.clone(), reason });
            }
            continue;
        }
        let name = tensor.name.clone();
        if narrow_tensor(tensor, &name, report)? {
            tensor.name = unused(&format!("{name}.f16"), names);
            casts.push(cast(&tensor.name, &name));
        }
    }
    for sparse in &graph.sparse_initializer {
        let reason = "it is sparse".to_owned();
        report.kept.push(Kept { name: sparse.values.name.clone(), reason });
    }
    narrow_constants(&mut graph.node, names, report)?;
    graph.node.splice(0..0, casts);
    Ok(())
}

/// Narrows constant nodes, and the subgraphs of other nodes (If, Loop, Scan).
fn narrow_constants(
    nodes: &mut Vec<NodeProto>,
    names: &mut HashSet<String>,
    report: &mut Report,
) -> Result<(), Error> {
    let mut done = Vec::with_capacity(nodes.len());
    for mut node in nodes.drain(..) {
        let mut following = None;
        for attribute in &mut node.attribute {
            for graph in attribute.g.as_mut().into_iter().chain(&mut attribute.graphs) {
                narrow_graph(graph, names, report)?;
            }
            if node.op_type == "Constant"
                && attribute.name == "value"
                && let (Some(tensor), Some(output)) =
                    (attribute.t.as_mut(), node.output.first_mut())
                && narrow_tensor(tensor, output, report)?
            {
                let name = std::mem::take(output);
                *output = unused(&format!("{name}.f16"), names);
                following = Some(cast(output, &name));
            }
        }
        done.push(node);
        done.extend(following);
    }
    *nodes = done;
    Ok(())
}

/// Converts the tensor's data to float16, or adds to the report why not. `name` is the value's name in
/// the graph.
fn narrow_tensor(tensor: &mut TensorProto, name: &str, report: &mut Report) -> Result<bool, Error> {
    if tensor.data_type != FLOAT || data_bytes(tensor) < 4 * MIN_ELEMENTS {
        return Ok(false);
    }
    let values = floats(tensor)?;
    if let Some(reason) = must_stay(&values) {
        report.kept.push(Kept { name: name.to_owned(), reason });
        return Ok(false);
    }
    let mut halves = vec![f16::ZERO; values.len()];
    halves.convert_from_f32_slice(&values);
    tensor.float_data = Vec::new();
    tensor.raw_data = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
    tensor.data_type = FLOAT16;
    report.narrowed += 1;
    Ok(true)
}

/// Why these values must stay float32; `None` if float16 can represent them.
fn must_stay(values: &[f32]) -> Option<String> {
    let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    if values.iter().any(|value| !value.is_finite()) {
        return Some("it has infinite or NaN values".to_owned());
    }
    if largest > f16::MAX.to_f32() {
        return Some(format!("its largest value, {largest:e}, exceeds float16's largest, 65504"));
    }
    let rounded = |value: f32| f16::from_f32(value).to_f32();
    let error = values.iter().fold(0f32, |worst, &value| worst.max((value - rounded(value)).abs()));
    if error > largest * MAX_ERROR {
        return Some(format!("its largest value, {largest:e}, is too small for float16"));
    }
    None
}

fn cast(from: &str, to: &str) -> NodeProto {
    NodeProto {
        op_type: "Cast".to_owned(),
        name: format!("{to}.widen"),
        input: vec![from.to_owned()],
        output: vec![to.to_owned()],
        attribute: vec![AttributeProto {
            name: "to".to_owned(),
            type_: AttributeType::INT.into(),
            i: FLOAT.into(),
            ..AttributeProto::default()
        }],
        ..NodeProto::default()
    }
}

fn has_half_weights(model: &ModelProto) -> bool {
    let mut found = false;
    for_each_tensor(&mut model.clone(), &mut |tensor| {
        found |= tensor.data_type == FLOAT16 && data_bytes(tensor) >= 2 * MIN_ELEMENTS;
    });
    found
}

const _: () = assert!(FLOAT16 == 10, "DataType::FLOAT16 of the ONNX format");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::ValueInfoProto;
    use crate::tensor::FLOAT16;
    use protobuf::MessageField;

    fn weight(name: &str, values: &[f32]) -> TensorProto {
        TensorProto {
            name: name.to_owned(),
            data_type: FLOAT,
            dims: vec![values.len() as i64],
            raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            ..TensorProto::default()
        }
    }

    fn node(op_type: &str, input: &[&str], output: &str) -> NodeProto {
        NodeProto {
            op_type: op_type.to_owned(),
            input: input.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.to_owned()],
            ..NodeProto::default()
        }
    }

    fn model(initializer: Vec<TensorProto>, nodes: Vec<NodeProto>) -> ModelProto {
        let graph = GraphProto { initializer, node: nodes, ..GraphProto::default() };
        ModelProto { graph: MessageField::some(graph), ..ModelProto::default() }
    }

    fn ramp(scale: f32) -> Vec<f32> {
        (0..128).map(|i| (i as f32 - 63.5) * scale).collect()
    }

    #[test]
    fn a_shared_weight_is_stored_and_cast_once() {
        let nodes = vec![node("Mul", &["x", "w"], "y"), node("Add", &["y", "w"], "z")];
        let mut model = model(vec![weight("w", &ramp(0.01))], nodes);
        let report = narrow(&mut model).unwrap();
        assert_eq!((report.narrowed, report.kept.len()), (1, 0));
        let graph = &model.graph;
        assert_eq!(graph.initializer[0].data_type, FLOAT16);
        assert_eq!(graph.initializer[0].raw_data.len(), 256);
        let ops: Vec<&str> = graph.node.iter().map(|node| node.op_type.as_str()).collect();
        assert_eq!(ops, ["Cast", "Mul", "Add"]);
        assert_eq!(graph.node[0].output, ["w"]);
        assert_eq!(graph.node[1].input[1], "w");
    }

    #[test]
    fn tensors_that_float16_cannot_represent_stay_and_are_named() {
        let large = weight("large", &ramp(2000.0));
        let tiny = weight("tiny", &ramp(1e-9));
        let odd = weight("odd", &[f32::NAN; 128]);
        let fine = weight("fine", &ramp(1.0));
        let mut model = model(vec![large, tiny, odd, fine], vec![]);
        let report = narrow(&mut model).unwrap();
        let kept: Vec<&str> = report.kept.iter().map(|kept| kept.name.as_str()).collect();
        assert_eq!(kept, ["large", "tiny", "odd"]);
        assert!(report.kept[0].reason.contains("65504"));
        assert_eq!(report.narrowed, 1);
    }

    #[test]
    fn a_few_subnormals_among_normal_weights_are_narrowed() {
        let mut values = ramp(0.02);
        values[3] = 1e-7;
        let mut model = model(vec![weight("w", &values)], vec![]);
        assert_eq!(narrow(&mut model).unwrap().narrowed, 1);
    }

    #[test]
    fn constants_and_subgraphs_are_narrowed_too() {
        let mut constant = node("Constant", &[], "c");
        constant.attribute.push(AttributeProto {
            name: "value".to_owned(),
            type_: AttributeType::TENSOR.into(),
            t: MessageField::some(weight("", &ramp(0.5))),
            ..AttributeProto::default()
        });
        let inner = GraphProto {
            initializer: vec![weight("inner", &ramp(0.1))],
            node: vec![node("Add", &["inner", "outer"], "out")],
            ..GraphProto::default()
        };
        let mut branch = node("If", &["condition"], "y");
        branch.attribute.push(AttributeProto {
            name: "then_branch".to_owned(),
            type_: AttributeType::GRAPH.into(),
            g: MessageField::some(inner),
            ..AttributeProto::default()
        });
        let mut model = model(vec![weight("outer", &ramp(0.1))], vec![constant, branch]);
        assert_eq!(narrow(&mut model).unwrap().narrowed, 3);
        let graph = &model.graph;
        let ops: Vec<&str> = graph.node.iter().map(|node| node.op_type.as_str()).collect();
        assert_eq!(ops, ["Cast", "Constant", "Cast", "If"]);
        assert_eq!(
            (&graph.node[1].output[0], &graph.node[2].output[0]),
            (&"c.f16".into(), &"c".into())
        );
        assert_eq!(graph.node[3].attribute[0].g.node[0].op_type, "Cast");
    }

    #[test]
    fn inputs_of_the_graph_are_not_narrowed() {
        let mut model = model(vec![weight("w", &ramp(1.0)), weight("v", &ramp(1.0))], vec![]);
        let input = ValueInfoProto { name: "w".to_owned(), ..ValueInfoProto::default() };
        model.graph.as_mut().unwrap().input.push(input);
        let report = narrow(&mut model).unwrap();
        assert_eq!(report.kept[0].name, "w");
        assert_eq!(model.graph.initializer[0].data_type, FLOAT);
    }

    #[test]
    fn narrowing_twice_is_an_error() {
        let mut twice = model(vec![weight("w", &ramp(1.0))], vec![]);
        narrow(&mut twice).unwrap();
        assert!(matches!(narrow(&mut twice), Err(Error::AlreadyHalf)));
        assert!(matches!(narrow(&mut model(vec![], vec![])), Err(Error::NothingToNarrow)));
    }

    #[test]
    fn new_names_avoid_old_ones() {
        let mut model = model(vec![weight("w", &ramp(1.0))], vec![node("Relu", &["x"], "w.f16")]);
        narrow(&mut model).unwrap();
        assert_eq!(model.graph.initializer[0].name, "w.f16_");
    }

    #[test]
    fn the_cast_target_is_float() {
        assert_eq!(cast("a", "b").attribute[0].i, 1);
    }
}
