//! Float64: a graph whose input is float64 is read as one of float32, which the engine computes in.

use std::io::{Read, Seek, SeekFrom};
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{GraphProto, TensorProto};

const DOUBLE: i32 = DataType::Double as i32;
const FLOAT: i32 = DataType::Float as i32;

/// Attributes that name an element type.
const TYPES: [&str; 3] = ["to", "dtype", "output_dtype"];

/// Makes every stored float64 tensor float32, and every node that makes float64 make float32.
///
/// # Errors
/// A tensor's bytes cannot be read, or are not as many as its shape says.
pub(crate) fn double_to_float(graph: &mut GraphProto) -> Result<(), String> {
    let mut left = vec![graph];
    while let Some(graph) = left.pop() {
        graph.initializer.iter_mut().try_for_each(narrow)?;
        for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
            if TYPES.contains(&attribute.name.as_str()) && attribute.i == i64::from(DOUBLE) {
                attribute.i = i64::from(FLOAT);
            }
            attribute.t.iter_mut().chain(&mut attribute.tensors).try_for_each(narrow)?;
            left.extend(attribute.g.iter_mut().chain(&mut attribute.graphs));
        }
    }
    Ok(())
}

fn narrow(tensor: &mut TensorProto) -> Result<(), String> {
    if tensor.data_type != DOUBLE {
        return Ok(());
    }
    if tensor.data_location == Some(DataLocation::External as i32) {
        inline(tensor).map_err(|error| format!("tensor {:?}: {error}", tensor.name))?;
    }
    let raw = std::mem::take(&mut tensor.raw_data);
    let (doubles, rest) = raw.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(format!("tensor {:?} is cut short", tensor.name));
    }
    let narrowed =
        doubles.iter().flat_map(|&bytes| (f64::from_le_bytes(bytes) as f32).to_le_bytes());
    tensor.raw_data = narrowed.collect();
    tensor.float_data = tensor.double_data.drain(..).map(|value| value as f32).collect();
    tensor.data_type = FLOAT;
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
