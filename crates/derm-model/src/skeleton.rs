//! An ONNX file without its large weights.
//!
//! A reader that keeps the whole file needs its size twice over while loading: once for the file,
//! once for the tensors. Here each large weight that only convolutions and matrix products use is
//! left out of the graph, which gets an input of its name instead, and is read where it lies in the
//! file when its step is packed. Field numbers are those of `onnx.proto3`
//! (<https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3>).

use crate::Error;
use derm_engine::Stored;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use tract_onnx::prelude::DatumType;

/// Weights with fewer elements stay in the graph: simplifying it may want to compute with them.
const SMALL: usize = 4096;

/// A graph without its large weights, and where those are.
pub(crate) struct Skeleton {
    /// An ONNX file.
    pub(crate) bytes: Vec<u8>,
    pub(crate) weights: HashMap<String, Stored>,
}

/// Takes the large weights out of an ONNX file.
pub(crate) fn skeleton(file: &[u8]) -> Result<Skeleton, Error> {
    let malformed = || Error::Graph("it is no ONNX file, or was cut short".to_owned());
    let whole = fields(file, 0..file.len()).ok_or_else(malformed)?;
    let graph = whole.iter().find(|field| field.number == 7).ok_or_else(malformed)?;
    let inside = fields(file, graph.content.clone()).ok_or_else(malformed)?;
    let left_out = large_weights(file, &inside).ok_or_else(malformed)?;

    let mut shell = Vec::new();
    for field in &inside {
        if !left_out.iter().any(|weight| weight.field == field.whole) {
            shell.extend_from_slice(&file[field.whole.clone()]);
        }
    }
    let declared: HashSet<&str> =
        inside.iter().filter(|f| f.number == 11).filter_map(|f| name_of(file, f)).collect();
    for weight in &left_out {
        if !declared.contains(weight.name.as_str()) {
            put(&mut shell, 11, &value_info(&weight.name, &weight.stored));
        }
    }
    let mut bytes = Vec::new();
    for field in &whole {
        if field.whole == graph.whole {
            put(&mut bytes, 7, &shell);
        } else {
            bytes.extend_from_slice(&file[field.whole.clone()]);
        }
    }
    let weights = left_out.into_iter().map(|weight| (weight.name, weight.stored)).collect();
    Ok(Skeleton { bytes, weights })
}

struct Weight {
    name: String,
    stored: Stored,
    field: Range<usize>,
}

/// The weights that can be left out.
fn large_weights(file: &[u8], graph: &[Field]) -> Option<Vec<Weight>> {
    let mut nodes = Vec::new();
    for field in graph.iter().filter(|field| field.number == 1) {
        nodes.push(Node::read(file, field)?);
    }
    if nodes.iter().any(|node| node.has_graph) {
        // A graph inside a node may use any of them by name.
        return Some(Vec::new());
    }
    let outputs: HashSet<&str> =
        graph.iter().filter(|field| field.number == 12).filter_map(|f| name_of(file, f)).collect();
    let mut found = Vec::new();
    for field in graph.iter().filter(|field| field.number == 5) {
        let Some(weight) = Weight::read(file, field)? else { continue };
        if !outputs.contains(weight.name.as_str()) && is_factor(&nodes, &outputs, &weight.name) {
            found.push(weight);
        }
    }
    Some(found)
}

/// Whether only convolutions and matrix products read this value, widened at most.
fn is_factor(nodes: &[Node<'_>], outputs: &HashSet<&str>, name: &str) -> bool {
    nodes.iter().all(|node| {
        node.inputs.iter().enumerate().all(|(place, &input)| {
            input != name
                || match node.operator {
                    "Conv" | "Gemm" => place == 1,
                    "MatMul" => true,
                    "Cast" => node.outputs.iter().all(|output| {
                        !outputs.contains(output) && is_factor(nodes, outputs, output)
                    }),
                    _ => false,
                }
        })
    })
}

impl Weight {
    /// `None` inside: it is small, or not stored as plain little-endian float16 or float32.
    fn read(file: &[u8], tensor: &Field) -> Option<Option<Weight>> {
        let (mut name, mut shape, mut data_type, mut raw) = (None, Vec::new(), 0, None);
        for field in fields(file, tensor.content.clone())? {
            match field.number {
                1 => shape.extend(integers(file, &field)?),
                2 => data_type = *integers(file, &field)?.first()?,
                8 => name = text(file, &field),
                9 => raw = Some(field.content),
                _ => {}
            }
        }
        let datum_type = match data_type {
            1 => DatumType::F32,
            10 => DatumType::F16,
            _ => return Some(None),
        };
        let (Some(name), Some(raw)) = (name, raw) else { return Some(None) };
        let sides: Result<Vec<usize>, _> = shape.into_iter().map(usize::try_from).collect();
        let Ok(shape) = sides else { return Some(None) };
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
    has_graph: bool,
}

impl<'a> Node<'a> {
    fn read(file: &'a [u8], node: &Field) -> Option<Node<'a>> {
        let (mut inputs, mut outputs, mut operator, mut has_graph) =
            (Vec::new(), Vec::new(), "", false);
        for field in fields(file, node.content.clone())? {
            match field.number {
                1 => inputs.push(text(file, &field)?),
                2 => outputs.push(text(file, &field)?),
                4 => operator = text(file, &field)?,
                5 => {
                    let attribute = fields(file, field.content)?;
                    has_graph |= attribute.iter().any(|field| [6, 11].contains(&field.number));
                }
                _ => {}
            }
        }
        Some(Node { operator, inputs, outputs, has_graph })
    }
}

/// A field of a message: where it lies with its key, and its content alone.
struct Field {
    number: u32,
    wire: WireType,
    whole: Range<usize>,
    content: Range<usize>,
}

/// The fields of the message in `range`; none if it is malformed.
fn fields(file: &[u8], range: Range<usize>) -> Option<Vec<Field>> {
    let mut rest = &file[range.clone()];
    let at = |rest: &[u8]| range.end - rest.len();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let start = at(rest);
        let (number, wire) = decode_key(&mut rest).ok()?;
        let content = if wire == WireType::LengthDelimited {
            let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
            let start = at(rest);
            rest = rest.get(length..)?;
            start..start + length
        } else {
            let start = at(rest);
            skip_field(wire, number, &mut rest, DecodeContext::default()).ok()?;
            start..at(rest)
        };
        found.push(Field { number, wire, whole: start..content.end, content });
    }
    Some(found)
}

fn text<'a>(file: &'a [u8], field: &Field) -> Option<&'a str> {
    std::str::from_utf8(&file[field.content.clone()]).ok()
}

/// The name (field 1) of a `ValueInfoProto`.
fn name_of<'a>(file: &'a [u8], message: &Field) -> Option<&'a str> {
    let inside = fields(file, message.content.clone())?;
    let name = inside.iter().find(|field| field.number == 1)?;
    text(file, name)
}

/// One integer, or a packed list.
fn integers(file: &[u8], field: &Field) -> Option<Vec<u64>> {
    let mut rest = &file[field.content.clone()];
    if field.wire == WireType::Varint {
        return Some(vec![decode_varint(&mut rest).ok()?]);
    }
    let mut found = Vec::new();
    while !rest.is_empty() {
        found.push(decode_varint(&mut rest).ok()?);
    }
    Some(found)
}

fn put(to: &mut Vec<u8>, number: u32, content: &[u8]) {
    encode_key(number, WireType::LengthDelimited, to);
    encode_varint(content.len() as u64, to);
    to.extend_from_slice(content);
}

fn put_integer(to: &mut Vec<u8>, number: u32, value: u64) {
    encode_key(number, WireType::Varint, to);
    encode_varint(value, to);
}

/// A `ValueInfoProto`: a name, and a tensor type of this element type and shape.
fn value_info(name: &str, stored: &Stored) -> Vec<u8> {
    let mut shape = Vec::new();
    for &side in &stored.shape {
        let mut dimension = Vec::new();
        put_integer(&mut dimension, 1, side as u64);
        put(&mut shape, 1, &dimension);
    }
    let mut tensor = Vec::new();
    put_integer(&mut tensor, 1, if stored.datum_type == DatumType::F16 { 10 } else { 1 });
    put(&mut tensor, 2, &shape);
    let mut kind = Vec::new();
    put(&mut kind, 1, &tensor);
    let mut info = Vec::new();
    put(&mut info, 1, name.as_bytes());
    put(&mut info, 2, &kind);
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
}
