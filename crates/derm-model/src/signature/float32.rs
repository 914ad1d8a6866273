//! Float32: a graph that computes in float16 or float64 is read as one of float32, in which the
//! engine computes. Large weights stay in the file as they are, and are cast.

use crate::rewrite::integer;
use derm_engine::Stored;
use std::collections::{HashMap, HashSet};
use std::io::{Read, Seek, SeekFrom};
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};
use tract_onnx::prelude::{DatumType, f16};

const FLOAT: i64 = DataType::Float as i64;

/// Attributes that name an element type.
const TYPES: [&str; 3] = ["to", "dtype", "output_dtype"];

/// The other type that the graph computes in; `None`: it computes in float32, or uses others between
/// nodes of float32.
pub(crate) fn computes_in(graph: &GraphProto, picture: Option<DataType>) -> Option<DataType> {
    let makes_half = |node: &NodeProto| {
        let half = DataType::Float16 as i64;
        node.op_type == "Cast" && node.attribute.iter().any(|a| a.name == "to" && a.i == half)
    };
    match picture {
        Some(DataType::Double | DataType::Float16) => picture,
        _ => graph.node.iter().any(makes_half).then_some(DataType::Float16),
    }
}

/// Makes every tensor of type `from` that the graph stores float32, and every node that makes `from`
/// make float32. `weights`, which are not in the graph, keep their type.
///
/// # Errors
/// A tensor's bytes cannot be read, or are cut short.
pub(crate) fn to_float32(
    graph: &mut GraphProto,
    from: DataType,
    weights: &HashMap<String, Stored>,
) -> Result<(), String> {
    cast_weights(graph, weights);
    let mut left = vec![graph];
    while let Some(graph) = left.pop() {
        graph.initializer.iter_mut().try_for_each(|tensor| convert(tensor, from))?;
        for node in &mut graph.node {
            for attribute in &mut node.attribute {
                if TYPES.contains(&attribute.name.as_str()) && attribute.i == from as i64 {
                    attribute.i = FLOAT;
                }
                let mut tensors = attribute.t.iter_mut().chain(&mut attribute.tensors);
                tensors.try_for_each(|tensor| convert(tensor, from))?;
                left.extend(attribute.g.iter_mut().chain(&mut attribute.graphs));
            }
        }
    }
    Ok(())
}

/// Lets everything that reads a large float16 weight read its cast to float32.
fn cast_weights(graph: &mut GraphProto, weights: &HashMap<String, Stored>) {
    let is_half =
        |name: &&str| weights.get(*name).is_some_and(|stored| stored.datum_type == DatumType::F16);
    let read = graph.node.iter().flat_map(|node| &node.input).map(String::as_str);
    let halves: HashSet<String> = read.filter(is_half).map(str::to_owned).collect();
    let cast_name = |name: &str| format!("{name}.float32");
    for input in graph.node.iter_mut().flat_map(|node| &mut node.input) {
        if halves.contains(input) {
            *input = cast_name(input);
        }
    }
    let to = integer("to", FLOAT);
    graph.node.extend(halves.into_iter().map(|name| NodeProto {
        op_type: "Cast".to_owned(),
        name: cast_name(&name),
        output: vec![cast_name(&name)],
        input: vec![name],
        attribute: vec![to.clone()],
        ..Default::default()
    }));
}

fn convert(tensor: &mut TensorProto, from: DataType) -> Result<(), String> {
    if tensor.data_type != from as i32 {
        return Ok(());
    }
    if tensor.data_location == Some(DataLocation::External as i32) {
        inline(tensor).map_err(|error| format!("tensor {:?}: {error}", tensor.name))?;
    }
    let raw = std::mem::take(&mut tensor.raw_data);
    let width = if from == DataType::Double { 8 } else { 2 };
    if !raw.len().is_multiple_of(width) {
        return Err(format!("tensor {:?} is cut short", tensor.name));
    }
    tensor.float_data.clear();
    if from == DataType::Double {
        let doubles = raw.as_chunks::<8>().0.iter().map(|&bytes| f64::from_le_bytes(bytes));
        tensor.float_data.extend(doubles.chain(tensor.double_data.drain(..)).map(|v| v as f32));
    } else {
        let halves = raw.as_chunks::<2>().0.iter().map(|&bytes| u16::from_le_bytes(bytes));
        // Where there are no raw bytes, a float16's bits are in an int32.
        let others = tensor.int32_data.drain(..).map(|bits| bits as u16);
        tensor.float_data.extend(halves.chain(others).map(|bits| f16::from_bits(bits).to_f32()));
    }
    tensor.data_type = DataType::Float as i32;
    Ok(())
}

/// Reads a tensor's bytes from its file, whose location is a path from the root: it was checked.
fn inline(tensor: &mut TensorProto) -> std::io::Result<()> {
    let value = |key: &str| {
        let entry = tensor.external_data.iter().find(|entry| entry.key == key);
        entry.map_or("", |entry| entry.value.as_str())
    };
    let mut file = std::fs::File::open(std::path::Path::new("/").join(value("location")))?;
    file.seek(SeekFrom::Start(value("offset").parse().unwrap_or(0)))?;
    let length = value("length").parse().unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    tensor.raw_data = bytes;
    tensor.external_data.clear();
    tensor.data_location = None;
    Ok(())
}
