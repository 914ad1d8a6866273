//! What the graph itself shows of its input, output and classes.

use super::known::Known;
use crate::Error;
use crate::graph::picture_input;
use crate::signature::{Declared, final_operator, listed, producers, tensor_behind};
use derm_engine::Stored;
use derm_preprocess::{ChannelOrder, Layout};
use std::collections::HashMap;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};

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
    /// Reads the graph, whose input's free axes are as long as those of `shape` where that has as many axes, and whose
    /// scores are the value `output` where one is named.
    pub(super) fn read(
        model: &ModelProto,
        weights: &HashMap<String, Stored>,
        shape: &[usize],
        output: Option<&str>,
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
        let (output, output_name, units) = output_form(graph, weights, output)?;
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

/// What may hold the scores.
struct Candidate<'a> {
    name: &'a str,
    /// The number of scores that is declared for it.
    declared: Option<usize>,
    /// Whether it is declared as something else than a vector.
    is_map: bool,
}

impl<'a> Candidate<'a> {
    /// `None`: no tensor of floating-point numbers.
    fn of(output: &'a ValueInfoProto, producers: &HashMap<&'a str, &'a NodeProto>) -> Option<Self> {
        let Declared { shape, .. } = Declared::read(output);
        let name = tensor_behind(&output.name, producers);
        if name != output.name {
            return Some(Candidate { name, declared: None, is_map: false });
        }
        if !Declared::read(output).may_be_scores() {
            return None;
        }
        let of_one =
            shape.as_deref().map(|shape| if shape.len() > 1 { &shape[1..] } else { shape });
        let is_map =
            of_one.is_some_and(|dims| dims.iter().filter(|dim| **dim != Some(1)).count() > 1);
        let declared = of_one
            .and_then(|dims| dims.iter().try_fold(1usize, |all, dim| all.checked_mul((*dim)?)));
        Some(Candidate { name, declared, is_map })
    }
}

/// The value of that name.
fn named<'a>(
    graph: &'a GraphProto,
    producers: &HashMap<&'a str, &'a NodeProto>,
    name: &'a str,
) -> Result<Candidate<'a>, Error> {
    let output = graph.output.iter().find(|output| output.name == name);
    let found = match output {
        Some(output) => Candidate::of(output, producers),
        None => producers.contains_key(name).then(|| {
            let name = tensor_behind(name, producers);
            Candidate { name, declared: None, is_map: false }
        }),
    };
    found.filter(|candidate| !candidate.is_map).ok_or_else(|| {
        let outputs: Vec<Declared> = graph.output.iter().map(Declared::read).collect();
        Error::Mismatch(format!("no value {name:?} can be scores; {}", listed(&outputs)))
    })
}

/// The output that ends in probabilities, else the last that is declared to have several units, else the last
/// with few axes of floating-point numbers.
fn likeliest<'a>(
    graph: &'a GraphProto,
    producers: &HashMap<&'a str, &'a NodeProto>,
) -> Result<Candidate<'a>, Error> {
    let all = graph.output.iter().filter_map(|output| Candidate::of(output, producers));
    let mut found: Vec<Candidate<'a>> = all.filter(|candidate| !candidate.is_map).collect();
    let is_probability =
        |one: &Candidate<'_>| matches!(final_operator(one.name, producers), "Softmax" | "Sigmoid");
    let is_several = |one: &Candidate<'_>| one.declared.is_some_and(|units| units > 1);
    let best = found.iter().position(is_probability);
    let best = best.or_else(|| found.iter().rposition(is_several));
    let best = best.or(found.len().checked_sub(1));
    let nothing = || Error::Mismatch("no output of the graph can be scores".to_owned());
    best.map(|best| found.swap_remove(best)).ok_or_else(nothing)
}

type OutputForm = (Known<&'static str>, Option<Known<String>>, Option<usize>);

fn output_form(
    graph: &GraphProto,
    weights: &HashMap<String, Stored>,
    chosen: Option<&str>,
) -> Result<OutputForm, Error> {
    let producers = producers(graph);
    let Candidate { name, declared, .. } = match chosen {
        Some(name) => named(graph, &producers, name)?,
        None => likeliest(graph, &producers)?,
    };
    let units = declared.or_else(|| width_of(name, graph, weights));
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
    let why = if chosen.is_some() { "as asked for" } else { "graph: it has several outputs" };
    let is_needed = chosen.is_some() || graph.output.len() > 1;
    let output_name = is_needed.then(|| Known::from(name.to_owned(), why));
    Ok((output, output_name, units))
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
