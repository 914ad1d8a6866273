//! Skeleton: an ONNX file without its large weights.
//!
//! A reader that keeps the whole file needs its size twice over while loading: once for the file,
//! once for the tensors. Here each large weight that only convolutions and matrix products read is
//! left out of the graph, which gets an input of its name instead; the weight is read from the
//! mapped file when its step is packed.

mod external;
pub(crate) mod protobuf;

pub(crate) use external::{ExternalData, external_data};

use crate::Error;
use derm_engine::Stored;
use protobuf::{Field, fields, put_bytes, put_integer};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use tract_onnx::prelude::DatumType;

/// Field numbers and enum values of `onnx.proto3`
/// (<https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3>), named `MESSAGE_FIELD`.
mod number {
    pub(super) const MODEL_GRAPH: u32 = 7;

    pub(super) const GRAPH_NODE: u32 = 1;
    pub(super) const GRAPH_INITIALIZER: u32 = 5;
    pub(super) const GRAPH_INPUT: u32 = 11;
    pub(super) const GRAPH_OUTPUT: u32 = 12;

    pub(super) const NODE_INPUT: u32 = 1;
    pub(super) const NODE_OUTPUT: u32 = 2;
    pub(super) const NODE_OP_TYPE: u32 = 4;
    pub(super) const NODE_ATTRIBUTE: u32 = 5;

    pub(super) const ATTRIBUTE_GRAPH: u32 = 6;
    pub(super) const ATTRIBUTE_GRAPHS: u32 = 11;

    pub(super) const TENSOR_DIMS: u32 = 1;
    pub(super) const TENSOR_DATA_TYPE: u32 = 2;
    pub(super) const TENSOR_NAME: u32 = 8;
    pub(super) const TENSOR_RAW_DATA: u32 = 9;
    pub(super) const TENSOR_EXTERNAL_DATA: u32 = 13;
    pub(super) const TENSOR_DATA_LOCATION: u32 = 14;

    pub(super) const ENTRY_KEY: u32 = 1;
    pub(super) const ENTRY_VALUE: u32 = 2;

    pub(super) const VALUE_INFO_NAME: u32 = 1;
    pub(super) const VALUE_INFO_TYPE: u32 = 2;
    pub(super) const TYPE_TENSOR: u32 = 1;
    pub(super) const TENSOR_TYPE_ELEM_TYPE: u32 = 1;
    pub(super) const TENSOR_TYPE_SHAPE: u32 = 2;
    pub(super) const SHAPE_DIM: u32 = 1;
    pub(super) const DIM_VALUE: u32 = 1;

    pub(super) const FLOAT: u64 = 1;
    pub(super) const FLOAT16: u64 = 10;
    pub(super) const UINT8: u64 = 2;
    pub(super) const INT8: u64 = 3;
}

/// Weights with fewer elements stay in the graph: simplifying it may want to compute with them.
const SMALL: usize = 4096;

/// A graph without its large weights, and where those are.
pub(crate) struct Skeleton {
    /// An ONNX file.
    pub(crate) bytes: Vec<u8>,
    pub(crate) weights: HashMap<String, Stored>,
}

/// Takes the large weights out of an ONNX file.
///
/// # Errors
/// [`Error::Graph`]: the file is not ONNX, was cut short, or has more than one graph.
pub(crate) fn skeleton(file: &[u8]) -> Result<Skeleton, Error> {
    let Outline { model, graph, inside } = Outline::read(file)?;
    let left_out = large_weights(file, &inside).ok_or_else(malformed)?;

    let shell = without(file, &inside, &left_out);
    let mut bytes = Vec::new();
    for field in &model {
        if field.whole == graph {
            put_bytes(&mut bytes, number::MODEL_GRAPH, &shell);
        } else {
            bytes.extend_from_slice(&file[field.whole.clone()]);
        }
    }
    let weights = left_out.into_iter().map(|weight| (weight.name, weight.stored)).collect();
    Ok(Skeleton { bytes, weights })
}

fn malformed() -> Error {
    Error::Graph("it is not an ONNX file, or was cut short".to_owned())
}

/// The file's fields.
struct Outline {
    model: Vec<Field>,
    /// Its one graph, with its key.
    graph: Range<usize>,
    /// The fields of that.
    inside: Vec<Field>,
}

impl Outline {
    fn read(file: &[u8]) -> Result<Outline, Error> {
        let model = fields(file, 0..file.len()).ok_or_else(malformed)?;
        let mut graphs = model.iter().filter(|field| field.number == number::MODEL_GRAPH);
        let graph = graphs.next().ok_or_else(malformed)?;
        if graphs.next().is_some() {
            // A reader would merge them: nodes of one may read the weights of the other.
            return Err(Error::Graph("it has more than one graph".to_owned()));
        }
        let inside = fields(file, graph.content.clone()).ok_or_else(malformed)?;
        let graph = graph.whole.clone();
        Ok(Outline { model, graph, inside })
    }
}

/// The graph's fields but for the weights that are left out, each of which becomes an input.
fn without(file: &[u8], graph: &[Field], left_out: &[Weight]) -> Vec<u8> {
    let mut shell = Vec::new();
    let skipped: HashSet<usize> = left_out.iter().map(|weight| weight.field.start).collect();
    for field in graph.iter().filter(|field| !skipped.contains(&field.whole.start)) {
        shell.extend_from_slice(&file[field.whole.clone()]);
    }
    let declared: HashSet<&str> = names(file, graph, number::GRAPH_INPUT).collect();
    for weight in left_out {
        if !declared.contains(weight.name.as_str()) {
            put_bytes(&mut shell, number::GRAPH_INPUT, &value_info(&weight.name, &weight.stored));
        }
    }
    shell
}

struct Weight {
    name: String,
    stored: Stored,
    field: Range<usize>,
}

/// The weights that can be left out; `None` if the graph is malformed.
fn large_weights(file: &[u8], graph: &[Field]) -> Option<Vec<Weight>> {
    let mut nodes = Vec::new();
    for field in graph.iter().filter(|field| field.number == number::GRAPH_NODE) {
        nodes.push(Node::read(file, field)?);
    }
    if nodes.iter().any(|node| node.has_graph) {
        // A graph inside a node may read any of them by name.
        return Some(Vec::new());
    }
    let kept = read_as_values(&nodes, names(file, graph, number::GRAPH_OUTPUT));
    // A file that computes a value twice is malformed: the reader of the graph is to see it whole.
    let computed: HashSet<&str> =
        nodes.iter().flat_map(|node| node.outputs.iter().copied()).collect();
    let mut found = Vec::new();
    for field in graph.iter().filter(|field| field.number == number::GRAPH_INITIALIZER) {
        let Some(weight) = Weight::read(file, field)? else { continue };
        let name = weight.name.as_str();
        if !kept.contains(name) && !computed.contains(name) {
            found.push(weight);
        }
    }
    Some(found)
}

/// The values that something else reads than a convolution or matrix product, directly or through
/// casts and dequantisation: a worklist from the readers back, so that any graph, cyclic ones too, takes linear time
/// and constant stack.
fn read_as_values<'a>(
    nodes: &[Node<'a>],
    outputs: impl Iterator<Item = &'a str>,
) -> HashSet<&'a str> {
    let mut cast_from: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut found: HashSet<&str> = outputs.collect();
    for node in nodes {
        for (position, &input) in node.inputs.iter().enumerate() {
            match node.operator {
                "MatMul" => {}
                "Conv" | "ConvInteger" | "Gemm" | "MatMulInteger" if position == 1 => {}
                "QLinearConv" | "QLinearMatMul" | "QGemm" if position == 3 => {}
                // Its scale and zero point are values.
                "Cast" | "DequantizeLinear" if position == 0 => {
                    for &output in &node.outputs {
                        cast_from.entry(output).or_default().push(input);
                    }
                }
                _ => {
                    found.insert(input);
                }
            }
        }
    }
    let mut left: Vec<&str> = found.iter().copied().collect();
    while let Some(value) = left.pop() {
        // Removed: its sources are looked at once.
        let sources = cast_from.remove(value).unwrap_or_default();
        left.extend(sources.into_iter().filter(|source| found.insert(source)));
    }
    found
}

impl Weight {
    /// `None` inside: it is small, or not stored as plain little-endian float16, float32 or 8-bit integers.
    fn read(file: &[u8], tensor: &Field) -> Option<Option<Weight>> {
        let (mut name, mut shape, mut data_type, mut raw) = (None, Vec::new(), 0, None);
        for field in fields(file, tensor.content.clone())? {
            match field.number {
                number::TENSOR_DIMS => shape.extend(field.integers(file)?),
                number::TENSOR_DATA_TYPE => data_type = *field.integers(file)?.first()?,
                number::TENSOR_NAME => name = field.text(file),
                number::TENSOR_RAW_DATA => raw = Some(field.content),
                _ => {}
            }
        }
        let datum_type = match data_type {
            number::FLOAT => DatumType::F32,
            number::FLOAT16 => DatumType::F16,
            number::UINT8 => DatumType::U8,
            number::INT8 => DatumType::I8,
            _ => return Some(None),
        };
        let (Some(name), Some(raw)) = (name, raw) else { return Some(None) };
        let shape: Result<Vec<usize>, _> = shape.into_iter().map(usize::try_from).collect();
        let Ok(shape) = shape else { return Some(None) };
        let stored = Stored { datum_type, shape, start: raw.start };
        let large = raw.len() / datum_type.size_of() >= SMALL;
        if !large || stored.size() != Some(raw.len()) {
            return Some(None);
        }
        Some(Some(Weight { name: name.to_owned(), stored, field: tensor.whole.clone() }))
    }
}

struct Node<'a> {
    operator: &'a str,
    inputs: Vec<&'a str>,
    outputs: Vec<&'a str>,
    /// Whether an attribute holds a graph.
    has_graph: bool,
}

impl<'a> Node<'a> {
    fn read(file: &'a [u8], node: &Field) -> Option<Node<'a>> {
        let (mut inputs, mut outputs, mut operator, mut has_graph) =
            (Vec::new(), Vec::new(), "", false);
        for field in fields(file, node.content.clone())? {
            match field.number {
                number::NODE_INPUT => inputs.push(field.text(file)?),
                number::NODE_OUTPUT => outputs.push(field.text(file)?),
                number::NODE_OP_TYPE => operator = field.text(file)?,
                number::NODE_ATTRIBUTE => {
                    let graphs = [number::ATTRIBUTE_GRAPH, number::ATTRIBUTE_GRAPHS];
                    let attribute = fields(file, field.content)?;
                    has_graph |= attribute.iter().any(|field| graphs.contains(&field.number));
                }
                _ => {}
            }
        }
        Some(Node { operator, inputs, outputs, has_graph })
    }
}

/// Names of the graph's `ValueInfoProto`s in fields of this number.
fn names<'a>(file: &'a [u8], graph: &[Field], number: u32) -> impl Iterator<Item = &'a str> {
    graph.iter().filter(move |field| field.number == number).filter_map(|info| {
        let inside = fields(file, info.content.clone())?;
        let name = inside.iter().find(|field| field.number == number::VALUE_INFO_NAME)?;
        name.text(file)
    })
}

/// A `ValueInfoProto`: a name, and a tensor type of this element type and shape.
fn value_info(name: &str, stored: &Stored) -> Vec<u8> {
    let mut shape = Vec::new();
    for &length in &stored.shape {
        let mut dimension = Vec::new();
        put_integer(&mut dimension, number::DIM_VALUE, length as u64);
        put_bytes(&mut shape, number::SHAPE_DIM, &dimension);
    }
    let element = match stored.datum_type {
        DatumType::F16 => number::FLOAT16,
        DatumType::U8 => number::UINT8,
        DatumType::I8 => number::INT8,
        _ => number::FLOAT,
    };
    let mut tensor = Vec::new();
    put_integer(&mut tensor, number::TENSOR_TYPE_ELEM_TYPE, element);
    put_bytes(&mut tensor, number::TENSOR_TYPE_SHAPE, &shape);
    let mut kind = Vec::new();
    put_bytes(&mut kind, number::TYPE_TENSOR, &tensor);
    let mut info = Vec::new();
    put_bytes(&mut info, number::VALUE_INFO_NAME, name.as_bytes());
    put_bytes(&mut info, number::VALUE_INFO_TYPE, &kind);
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zoo(name: &str) -> Vec<u8> {
        let entry = derm_zoo::ENTRIES.iter().find(|entry| entry.name == name).unwrap();
        let folder = entry.make_f16(&derm_zoo::folder()).unwrap();
        std::fs::read(folder.join("model.onnx")).unwrap()
    }

    /// An ONNX file with one large weight, `W`, and these nodes: operator, inputs, outputs.
    fn file(nodes: &[(&str, &[&str], &[&str])]) -> Vec<u8> {
        let mut graph = Vec::new();
        for (operator, inputs, outputs) in nodes {
            let mut node = Vec::new();
            for input in *inputs {
                put_bytes(&mut node, number::NODE_INPUT, input.as_bytes());
            }
            for output in *outputs {
                put_bytes(&mut node, number::NODE_OUTPUT, output.as_bytes());
            }
            put_bytes(&mut node, number::NODE_OP_TYPE, operator.as_bytes());
            put_bytes(&mut graph, number::GRAPH_NODE, &node);
        }
        let mut weight = Vec::new();
        put_integer(&mut weight, number::TENSOR_DIMS, SMALL as u64);
        put_integer(&mut weight, number::TENSOR_DATA_TYPE, number::FLOAT);
        put_bytes(&mut weight, number::TENSOR_NAME, b"W");
        put_bytes(&mut weight, number::TENSOR_RAW_DATA, &[0; 4 * SMALL]);
        put_bytes(&mut graph, number::GRAPH_INITIALIZER, &weight);
        let mut model = Vec::new();
        put_bytes(&mut model, number::MODEL_GRAPH, &graph);
        model
    }

    fn leaves_out_the_weight(nodes: &[(&str, &[&str], &[&str])]) -> bool {
        skeleton(&file(nodes)).unwrap().weights.contains_key("W")
    }

    #[test]
    fn nearly_all_of_a_model_is_left_out_and_found_again() {
        let file = zoo("mobilenetv2.opset13");
        let Skeleton { bytes, weights } = skeleton(&file).unwrap();
        let taken: usize = weights.values().filter_map(Stored::size).sum();
        assert!(bytes.len() < file.len() / 10, "{} of {}", bytes.len(), file.len());
        assert!(taken + bytes.len() > file.len() * 99 / 100);
    }

    #[test]
    fn a_file_that_was_cut_short_is_refused() {
        let file = zoo("mobilenetv2.opset13");
        for length in [0, 1, 100, file.len() / 2, file.len() - 1] {
            assert!(skeleton(&file[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn weights_of_products_are_left_out_and_others_stay() {
        assert!(leaves_out_the_weight(&[("MatMul", &["x", "W"], &["y"])]));
        assert!(leaves_out_the_weight(&[
            ("Cast", &["W"], &["wide"]),
            ("Conv", &["x", "wide"], &["y"])
        ]));
        assert!(leaves_out_the_weight(&[
            ("DequantizeLinear", &["W", "scale", "zero"], &["wide"]),
            ("Conv", &["x", "wide"], &["y"])
        ]));
        assert!(!leaves_out_the_weight(&[
            ("DequantizeLinear", &["x", "W"], &["wide"]),
            ("Conv", &["x", "wide"], &["y"])
        ]));
        assert!(!leaves_out_the_weight(&[("Conv", &["W", "x"], &["y"])]));
        assert!(!leaves_out_the_weight(&[
            ("Cast", &["W"], &["wide"]),
            ("MatMul", &["x", "wide"], &["y"]),
            ("Add", &["y", "wide"], &["z"])
        ]));
    }

    #[test]
    fn a_cycle_of_casts_is_followed_once() {
        assert!(!leaves_out_the_weight(&[("Cast", &["W"], &["W"])]));
        let cycle: [(&str, &[&str], &[&str]); 3] =
            [("Cast", &["W"], &["a"]), ("Cast", &["a"], &["b"]), ("Cast", &["b"], &["a"])];
        assert!(leaves_out_the_weight(&cycle));
        let read = [&cycle[..], &[("Add", &["b"], &["y"])]].concat();
        assert!(!leaves_out_the_weight(&read));
    }

    #[test]
    fn long_and_doubled_chains_of_casts_take_linear_time_and_no_stack() {
        let names: Vec<String> = (0..100_000).map(|number| format!("v{number}")).collect();
        for (last, is_left_out) in [("MatMul", true), ("Add", false)] {
            let mut nodes: Vec<(&str, Vec<&str>, Vec<&str>)> =
                vec![("Cast", vec!["W"], vec!["v0"])];
            for two in names.windows(2) {
                // The same output twice: two ways from each value to the next.
                nodes.push(("Cast", vec![&two[0]], vec![&two[1], &two[1]]));
            }
            nodes.push((last, vec!["x", "v99999"], vec!["y"]));
            let nodes: Vec<(&str, &[&str], &[&str])> =
                nodes.iter().map(|(name, from, to)| (*name, &from[..], &to[..])).collect();
            assert_eq!(leaves_out_the_weight(&nodes), is_left_out, "{last}");
        }
    }

    #[test]
    fn a_file_with_two_graphs_is_refused() {
        let one = file(&[("MatMul", &["x", "W"], &["y"])]);
        let two = [&one[..], &file(&[("Add", &["x", "W"], &["z"])])].concat();
        assert!(skeleton(&two).is_err_and(|error| error.to_string().contains("more than one")));
    }
}
