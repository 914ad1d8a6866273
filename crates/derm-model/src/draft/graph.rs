//! What the graph itself shows of its input, output and classes.

use super::known::Known;
use crate::Error;
use crate::graph::picture_input;
use crate::signature::{Declared, final_operator, producers, tensor_behind};
use derm_engine::Stored;
use derm_preprocess::{ChannelOrder, Layout};
use std::collections::HashMap;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto};

/// What was found.
pub(super) struct Found {
    pub(super) height: Option<usize>,
    pub(super) width: Option<usize>,
    pub(super) layout: Known<Layout>,
    pub(super) channels: Known<ChannelOrder>,
    pub(super) output: Known<&'static str>,
    pub(super) output_name: Option<Known<String>>,
    /// Number of scores.
    pub(super) units: Option<usize>,
    /// Why it takes pixels from 0 to 255, if it plainly does.
    pub(super) normalises_itself: Option<&'static str>,
    /// Key and value, as exporters write them.
    pub(super) metadata: HashMap<String, String>,
}

impl Found {
    /// Reads the graph, whose input's free axes are as long as those of `shape` where that has as many axes.
    pub(super) fn read(
        model: &ModelProto,
        weights: &HashMap<String, Stored>,
        shape: &[usize],
    ) -> Result<Found, Error> {
        let empty = || Error::Graph("it has no graph".to_owned());
        let graph = model.graph.as_ref().ok_or_else(empty)?;
        let input = with_shape(picture_input(graph, weights)?, shape);
        let metadata: HashMap<String, String> = model
            .metadata_props
            .iter()
            .map(|entry| (entry.key.clone(), entry.value.clone()))
            .collect();
        let (layout, channels, [height, width]) = input_form(&input, &metadata);
        let (output, output_name, units) = output_form(graph, weights)?;
        let normalises_itself = normalises_itself(graph, &input, &metadata);
        Ok(Found {
            height,
            width,
            layout,
            channels,
            output,
            output_name,
            units,
            normalises_itself,
            metadata,
        })
    }
}

/// The input, its free axes as long as those of `shape` where that has as many axes.
fn with_shape(mut input: Declared, shape: &[usize]) -> Declared {
    let known = || shape.iter().copied().map(Some);
    match &mut input.shape {
        None if !shape.is_empty() => input.shape = Some(known().collect()),
        Some(declared) if declared.len() == shape.len() => {
            declared.iter_mut().zip(known()).for_each(|(dim, known)| *dim = dim.or(known));
        }
        _ => {}
    }
    input
}

type InputForm = (Known<Layout>, Known<ChannelOrder>, [Option<usize>; 2]);

fn input_form(input: &Declared, metadata: &HashMap<String, String>) -> InputForm {
    let shape: &[Option<usize>] = input.shape.as_deref().unwrap_or_default();
    let of_picture = if shape.len() == 4 { &shape[1..] } else { shape };
    let is_channels = |dim: Option<&Option<usize>>| matches!(dim, Some(Some(1 | 3)));
    let (layout, channels, sides) = match of_picture {
        [first, height, width] if is_channels(Some(first)) => {
            (Known::from(Layout::Nchw, "graph"), *first, [*height, *width])
        }
        [height, width, last] if is_channels(Some(last)) => {
            (Known::from(Layout::Nhwc, "graph"), *last, [*height, *width])
        }
        [height, width] => (Known::from(Layout::Nchw, "graph"), Some(1), [*height, *width]),
        [_, height, width] => {
            (Known::guess(Layout::Nchw, "nchw in PyTorch, nhwc in Keras"), None, [*height, *width])
        }
        _ => (Known::guess(Layout::Nchw, "nchw in PyTorch, nhwc in Keras"), None, [None, None]),
    };
    let format = metadata.get("Image.BitmapPixelFormat").map(String::as_str);
    let channels = match (channels, format) {
        (Some(1), _) => Known::from(ChannelOrder::Grey, "graph"),
        (_, Some(format)) if format.starts_with("Bgr") => {
            Known::from(ChannelOrder::Bgr, "metadata of the file")
        }
        (_, Some(format)) if format.starts_with("Rgb") => {
            Known::from(ChannelOrder::Rgb, "metadata of the file")
        }
        _ => Known::guess(
            ChannelOrder::Rgb,
            "bgr if the training read pictures with OpenCV or Caffe",
        ),
    };
    (layout, channels, sides)
}

type OutputForm = (Known<&'static str>, Option<Known<String>>, Option<usize>);

/// The output that ends in probabilities, else the last that is declared to have several units, else the last
/// with few axes of floating-point numbers.
fn output_form(graph: &GraphProto, weights: &HashMap<String, Stored>) -> Result<OutputForm, Error> {
    let producers = producers(graph);
    let mut found: Vec<(bool, bool, String, Option<usize>)> = Vec::new();
    for output in graph.output.iter().map(Declared::read) {
        let name = tensor_behind(&output.name, &producers);
        if name == output.name && !output.may_be_scores() {
            continue;
        }
        let shape = output.shape.filter(|_| name == output.name);
        let of_one =
            shape.as_deref().map(|shape| if shape.len() > 1 { &shape[1..] } else { shape });
        if of_one.is_some_and(|dims| dims.iter().filter(|dim| **dim != Some(1)).count() > 1) {
            continue;
        }
        let declared = of_one
            .and_then(|dims| dims.iter().try_fold(1usize, |all, dim| all.checked_mul((*dim)?)));
        let units = declared.or_else(|| width_of(name, graph, weights));
        let is_probability = matches!(final_operator(name, &producers), "Softmax" | "Sigmoid");
        let is_several = declared.is_some_and(|units| units > 1);
        found.push((is_probability, is_several, name.to_owned(), units));
    }
    let nothing = || Error::Mismatch("no output of the graph can be scores".to_owned());
    let best = found.iter().position(|(is_probability, ..)| *is_probability);
    let best = best.or_else(|| found.iter().rposition(|(_, is_several, ..)| *is_several));
    let (.., name, units) =
        found.get(best.unwrap_or(found.len().wrapping_sub(1))).ok_or_else(nothing)?;
    let output = match (final_operator(name, &producers), units) {
        ("Softmax", _) => Known::from("softmax", "graph: ends in Softmax"),
        ("Sigmoid", _) => Known::from("sigmoid", "graph: ends in Sigmoid"),
        ("Gemm" | "MatMul" | "Add" | "Conv" | "ReduceMean" | "GlobalAveragePool", Some(1)) => {
            Known::from("logits", "graph: one unit, the logit of the second class")
        }
        ("Gemm" | "MatMul" | "Add" | "Conv" | "ReduceMean" | "GlobalAveragePool", _) => {
            Known::from("logits", "graph: ends in no activation")
        }
        _ => Known::guess("logits", "logits, softmax or sigmoid: what the graph ends in"),
    };
    let output_name = (graph.output.len() > 1)
        .then(|| Known::from(name.clone(), "graph: it has several outputs"));
    Ok((output, output_name, *units))
}

/// The width of the last matrix before a value, where no shape is declared: rows of `Gemm` with
/// `transB`, columns of `MatMul`.
fn width_of(name: &str, graph: &GraphProto, weights: &HashMap<String, Stored>) -> Option<usize> {
    let producers = producers(graph);
    let mut value = name;
    for _ in 0..8 {
        let node = producers.get(value)?;
        let weight = node.input.get(1);
        let shape = weight.and_then(|weight| shape_of(weight, graph, weights));
        match node.op_type.as_str() {
            "Gemm" => {
                let transposed = node.attribute.iter().any(|a| a.name == "transB" && a.i == 1);
                return shape?.get(usize::from(!transposed)).copied();
            }
            "MatMul" => return shape?.last().copied(),
            "Add" if shape.as_ref().is_some_and(|shape| shape.len() == 1) => {
                return shape?.first().copied();
            }
            _ => value = node.input.first()?,
        }
    }
    None
}

fn shape_of(
    name: &str,
    graph: &GraphProto,
    weights: &HashMap<String, Stored>,
) -> Option<Vec<usize>> {
    if let Some(stored) = weights.get(name) {
        return Some(stored.shape.clone());
    }
    let tensor = graph.initializer.iter().find(|tensor| tensor.name == name)?;
    Some(tensor.dims.iter().map(|&dim| dim as usize).collect())
}

/// Integers, or a first multiplication or division that takes pixels from 0..=255 to about 1.
fn normalises_itself(
    graph: &GraphProto,
    input: &Declared,
    metadata: &HashMap<String, String>,
) -> Option<&'static str> {
    if matches!(
        input.element,
        Some(DataType::Uint8 | DataType::Int8 | DataType::Int32 | DataType::Int64)
    ) {
        return Some("graph: its input holds integers");
    }
    if metadata.get("Image.NominalPixelRange").is_some_and(|range| range == "NominalRange_0_255") {
        return Some("metadata of the file");
    }
    let mut value = input.name.as_str();
    for _ in 0..6 {
        let node = graph.node.iter().find(|node| node.input.iter().any(|input| input == value))?;
        let factor =
            node.input.iter().find(|other| *other != value).and_then(|name| number(name, graph));
        let divides = match (node.op_type.as_str(), factor) {
            ("Div", Some(divisor)) => (100.0..=300.0).contains(&divisor),
            ("Mul", Some(factor)) => (1.0 / 300.0..=1.0 / 100.0).contains(&factor),
            _ => false,
        };
        if divides {
            return Some("graph: it rescales pixels itself");
        }
        let passes_on = ["Cast", "Transpose", "Identity", "Reshape", "Sub", "Add", "Resize"];
        if !passes_on.contains(&node.op_type.as_str()) {
            return None;
        }
        value = node.output.first()?;
    }
    None
}

/// A stored tensor's first number.
fn number(name: &str, graph: &GraphProto) -> Option<f32> {
    let stored = graph.initializer.iter().find(|tensor| tensor.name == name);
    let constant = || {
        let makes = |node: &&NodeProto| {
            node.op_type == "Constant" && node.output.iter().any(|output| output == name)
        };
        graph.node.iter().find(makes)?.attribute.iter().find_map(|attribute| attribute.t.as_ref())
    };
    let tensor: &TensorProto = stored.or_else(constant)?;
    if tensor.data_type != DataType::Float as i32 {
        return None;
    }
    let raw = tensor.raw_data.first_chunk::<4>().map(|&bytes| f32::from_le_bytes(bytes));
    raw.or_else(|| tensor.float_data.first().copied())
}
