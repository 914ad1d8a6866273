//! The graph's input: element type, axes, batch and channels that differ from the manifest's.

use crate::Error;
use crate::signature::{Declared, element_name};
use derm_preprocess::{ChannelOrder, Layout, Spec};
use tract_onnx::pb::GraphProto;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::array::TypedConcat;
use tract_onnx::tract_core::ops::cast::cast;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::math;

/// A batch that is fixed to more pictures than this is refused: each is computed.
const MAX_BATCH: usize = 64;

/// The graph's own input, as the file declares it; what a tensor that is fed as it is must be.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphInput {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub element: ElementType,
    /// `[1, channels, rows, columns]` in the manifest's layout.
    pub shape: [usize; 4],
    /// What a value of the manifest's [`Spec`] is multiplied by to be one of the graph's; 1 where
    /// both are the same.
    pub factor: f32,
}

/// The type of a graph input's elements. Floating-point numbers of other widths are read as float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ElementType {
    F32,
    U8,
    I8,
    U16,
    I16,
    I32,
    I64,
}

impl ElementType {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            ElementType::U8 | ElementType::I8 => 1,
            ElementType::U16 | ElementType::I16 => 2,
            ElementType::F32 | ElementType::I32 => 4,
            ElementType::I64 => 8,
        }
    }
}

/// How the graph wants its picture.
pub(crate) struct InputForm {
    /// As fed to the graph's own input.
    pub(crate) datum_type: DatumType,
    /// `[1, channels, rows, columns]` in the manifest's layout.
    canonical: [usize; 4],
    /// Axes of `canonical` that the graph does not have, the last first.
    missing: Vec<usize>,
    /// The fixed batch; 1 where it is free or absent.
    pub(crate) batch: usize,
    /// What makes the manifest's values the integers that the graph reads; `None` for floats.
    to_integers: Option<f32>,
    /// As the file declares it.
    pub(crate) declared: GraphInput,
    /// What was adapted, for a user to read.
    pub(crate) notes: Vec<String>,
}

impl InputForm {
    /// Compares the declared input with the manifest's.
    ///
    /// # Errors
    /// [`Error::Mismatch`]: a picture cannot be fed to it.
    pub(crate) fn of(graph: &GraphProto, input: &Declared, spec: &Spec) -> Result<Self, Error> {
        let mut notes = Vec::new();
        let (canonical, missing, batch) = axes(input, spec)?;
        let shape = || input.to_string();
        let channels = canonical[if spec.layout == Layout::Nchw { 1 } else { 3 }];
        if channels == 1 {
            check_one_channel(spec)?;
            if spec.channels != ChannelOrder::Grey {
                notes.push(
                    "the input has one channel: it gets luma (channels = \"grey\")".to_owned(),
                );
            }
        }
        if !missing.is_empty() {
            notes.push(format!("the input {} lacks axes of length 1, which are left out", shape()));
        }
        if batch > MAX_BATCH {
            return Err(Error::Mismatch(format!(
                "its input {} has a fixed batch of {batch} pictures, more than {MAX_BATCH}: export it with a \
                 free batch or a batch of 1",
                shape()
            )));
        }
        let (datum_type, to_integers) = element(graph, input, spec, &mut notes)?;
        let declared = GraphInput {
            name: input.name.clone(),
            element: element_type(input.element),
            shape: canonical,
            factor: to_integers.unwrap_or(1.0),
        };
        Ok(InputForm { datum_type, canonical, missing, batch, to_integers, declared, notes })
    }

    /// The shape that the graph's own input is given, with this batch.
    pub(crate) fn shape(&self, batch: usize) -> TVec<usize> {
        let mut shape = TVec::from(&self.canonical[..]);
        shape[0] = batch;
        for &axis in &self.missing {
            shape.remove(axis);
        }
        shape
    }

    /// Says that the batch is what the message before is about.
    pub(crate) fn explained(&self, error: Error) -> Error {
        let Error::Graph(reason) = error else { return error };
        Error::Graph(if self.batch > 1 {
            let batch = self.batch;
            format!(
                "{reason} (its batch is fixed to {batch}: export it with a free batch or a batch of 1)"
            )
        } else {
            reason
        })
    }
}

/// The type of the elements of an input that can be fed.
fn element_type(declared: Option<DataType>) -> ElementType {
    match declared {
        Some(DataType::Uint8) => ElementType::U8,
        Some(DataType::Int8) => ElementType::I8,
        Some(DataType::Uint16) => ElementType::U16,
        Some(DataType::Int16) => ElementType::I16,
        Some(DataType::Int32) => ElementType::I32,
        Some(DataType::Int64) => ElementType::I64,
        _ => ElementType::F32,
    }
}

type Axes = ([usize; 4], Vec<usize>, usize);

/// The canonical shape, the axes that the graph lacks, and its fixed batch.
fn axes(input: &Declared, spec: &Spec) -> Result<Axes, Error> {
    let channel_axis = if spec.layout == Layout::Nchw { 1 } else { 3 };
    let channels = spec.shape()[channel_axis];
    let Some(declared) = &input.shape else { return Ok((spec.shape(), Vec::new(), 1)) };
    // The manifest's number of channels first: a free dimension takes it.
    for channels in [channels, 4 - channels] {
        let canonical = spec.shape_of(channels);
        // Batch; channel; both, the last axis first.
        let without_channel = [vec![channel_axis], vec![channel_axis.max(1), 0]];
        let none_or_batch = [Vec::new(), vec![0]];
        let forms =
            none_or_batch.into_iter().chain(without_channel.into_iter().filter(|_| channels == 1));
        for missing in forms {
            if let Some(batch) = fixed_batch(declared, &canonical, &missing) {
                return Ok((canonical, missing, batch));
            }
        }
    }
    Err(Error::Mismatch(format!(
        "its input is {input}, the manifest's [input] makes {:?}{}",
        spec.shape(),
        layout_hint(declared, spec)
    )))
}

/// The batch of a declared shape that agrees with this one without these axes.
fn fixed_batch(
    declared: &[Option<usize>],
    canonical: &[usize; 4],
    missing: &[usize],
) -> Option<usize> {
    let kept: Vec<usize> = (0..4).filter(|axis| !missing.contains(axis)).collect();
    let agrees = declared.len() == kept.len()
        && kept
            .iter()
            .zip(declared)
            .all(|(&axis, dim)| axis == 0 || dim.is_none_or(|dim| dim == canonical[axis]));
    let has_batch = kept.first() == Some(&0);
    agrees.then(|| if has_batch { declared[0].unwrap_or(1) } else { 1 })
}

/// A hint where the other layout, or the sides exchanged, would fit.
fn layout_hint(declared: &[Option<usize>], spec: &Spec) -> String {
    let fits = |spec: &Spec| {
        [1, 3].iter().any(|&channels| {
            let shape = spec.shape_of(channels);
            [&[][..], &[0]].iter().any(|missing| fixed_batch(declared, &shape, missing).is_some())
        })
    };
    let (other, name) = match spec.layout {
        Layout::Nchw => (Layout::Nhwc, "nhwc"),
        Layout::Nhwc => (Layout::Nchw, "nchw"),
    };
    if fits(&Spec { layout: other, ..spec.clone() }) {
        return format!("; layout = \"{name}\" would fit");
    }
    // The sides that the declaration asks for, in whichever layout has its channels.
    for (layout, name) in [(spec.layout, None), (other, Some(name))] {
        let first = if layout == Layout::Nchw {
            declared.len().saturating_sub(2)
        } else {
            declared.len().saturating_sub(3)
        };
        let [Some(height), Some(width)] = declared.get(first..first + 2).unwrap_or_default() else {
            continue;
        };
        let (Ok(height), Ok(width)) = (u32::try_from(*height), u32::try_from(*width)) else {
            continue;
        };
        if fits(&Spec { height, width, layout, ..spec.clone() }) {
            let layout = name.map_or(String::new(), |name| format!(", layout = \"{name}\""));
            return format!("; height = {height}, width = {width}{layout} would fit");
        }
    }
    String::new()
}

/// One channel has one mean and one standard deviation.
fn check_one_channel(spec: &Spec) -> Result<(), Error> {
    let is_one = |numbers: &[f32; 3]| numbers.iter().all(|number| *number == numbers[0]);
    if is_one(&spec.mean) && is_one(&spec.std) {
        return Ok(());
    }
    Err(Error::Mismatch(
        "its input has one channel: mean and std in [input] must be one number each".to_owned(),
    ))
}

/// The type that the graph's own input is given, and how integers are made.
fn element(
    graph: &GraphProto,
    input: &Declared,
    spec: &Spec,
    notes: &mut Vec<String>,
) -> Result<(DatumType, Option<f32>), Error> {
    let declared = input.element.unwrap_or(DataType::Undefined);
    let (datum_type, largest) = match declared {
        // Read as float32.
        DataType::Undefined | DataType::Float | DataType::Float16 => {
            return Ok((DatumType::F32, None));
        }
        DataType::Double => {
            notes.push("the graph computes in float64: it is read as float32".to_owned());
            return Ok((DatumType::F32, None));
        }
        DataType::Uint8 => (DatumType::U8, 255.0),
        DataType::Int8 => (DatumType::I8, 127.0),
        DataType::Uint16 => (DatumType::U16, 65_535.0),
        DataType::Int16 => (DatumType::I16, 32_767.0),
        DataType::Int32 => (DatumType::I32, 65_535.0),
        DataType::Int64 => (DatumType::I64, 65_535.0),
        other => {
            return Err(Error::Mismatch(format!(
                "its input holds {}, not numbers",
                element_name(other)
            )));
        }
    };
    let smallest =
        if matches!(declared, DataType::Uint8 | DataType::Uint16) { 0.0 } else { -largest - 1.0 };
    let name = element_name(declared);
    let is_left_out =
        spec.mean == [0.0; 3] && spec.std == [1.0; 3] && (spec.scale * 255.0 - 1.0).abs() < 1e-4;
    let factor = if is_left_out { 255.0 } else { 1.0 };
    let value = |pixel: u8, channel: usize| {
        (f32::from(pixel) * spec.scale - spec.mean[channel]) / spec.std[channel] * factor
    };
    let is_exact = (0..3).all(|channel| {
        (0..=u8::MAX).all(|pixel| {
            let value = value(pixel, channel);
            (value - value.round()).abs() < 1e-3 && (smallest..=largest).contains(&value.round())
        })
    });
    if !is_exact {
        return Err(Error::Mismatch(format!(
            "its input holds {name}, so the graph normalises pixels itself: [input] must say scale = 1.0, without \
             mean and std (it makes values from {} to {})",
            value(0, 0),
            value(255, 0)
        )));
    }
    if is_left_out {
        notes.push(format!("the input holds {name}: it gets pixels from 0 to 255 (scale = 1.0)"));
    }
    let is_cast_at_once = is_only_cast(graph, &input.name);
    Ok((if is_cast_at_once { DatumType::F32 } else { datum_type }, Some(factor)))
}

/// Whether everything that reads this input casts it to floating point, at once or after changes of
/// its axes: then the graph may be fed with floating point, which has derivatives.
fn is_only_cast(graph: &GraphProto, input: &str) -> bool {
    // Each is looked for among all nodes.
    const MAX_STEPS: usize = 32;
    const AXES: [&str; 6] = ["Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"];
    let to_float = |node: &tract_onnx::pb::NodeProto| {
        let to = node.attribute.iter().find(|attribute| attribute.name == "to");
        let float = [DataType::Float as i64, DataType::Float16 as i64, DataType::Double as i64];
        node.op_type == "Cast" && to.is_some_and(|to| float.contains(&to.i))
    };
    let has_graphs =
        |node: &tract_onnx::pb::NodeProto| node.attribute.iter().any(|a| a.g.is_some());
    if graph.node.iter().any(has_graphs) {
        return false;
    }
    let mut left = vec![input];
    let mut seen = std::collections::HashSet::new();
    while let Some(value) = left.pop() {
        if !seen.insert(value) {
            continue;
        }
        if seen.len() > MAX_STEPS {
            return false;
        }
        if graph.output.iter().any(|output| output.name == value) {
            return false;
        }
        for node in graph.node.iter().filter(|node| node.input.iter().any(|input| input == value)) {
            if to_float(node) {
                continue;
            }
            if !AXES.contains(&node.op_type.as_str()) || node.input[0] != value {
                return false;
            }
            left.extend(node.output.iter().map(String::as_str));
        }
    }
    true
}

/// Puts a float32 picture of the canonical shape in place of the graph's first input, where that
/// is another.
pub(crate) fn wire_input(
    model: &mut TypedModel,
    form: &InputForm,
    batch: usize,
) -> TractResult<()> {
    let old = model.input_outlets()?[0];
    let fact = model.outlet_fact(old)?.clone();
    let is_float = fact.datum_type == DatumType::F32;
    let is_canonical = fact.shape.as_concrete() == Some(&form.canonical[..]);
    if is_float && is_canonical && form.to_integers.is_none_or(|factor| factor == 1.0) {
        return Ok(());
    }
    let name = format!("{}.picture", model.node(old.node).name);
    let readers = model.node(old.node).outputs[old.slot].successors.clone();
    let mut inputs = model.input_outlets()?.to_vec();
    let picture = model.add_source(&name, f32::fact(form.canonical))?;
    let mut wire = picture;
    if let Some(factor) = form.to_integers.filter(|&factor| factor != 1.0) {
        let factor =
            model.add_const(format!("{name}.factor"), tensor0(factor).broadcast_into_rank(4)?)?;
        wire = model.wire_node(format!("{name}.pixels"), math::mul(), &[wire, factor])?[0];
    }
    if !is_float {
        let round = math::round_half_to_even();
        wire = model.wire_node(format!("{name}.round"), round, &[wire])?[0];
        wire = model.wire_node(format!("{name}.cast"), cast(fact.datum_type), &[wire])?[0];
    }
    for (number, &axis) in form.missing.iter().enumerate() {
        wire = model.wire_node(format!("{name}.axis{number}"), AxisOp::Rm(axis), &[wire])?[0];
    }
    if batch > 1 {
        let copies = vec![wire; batch];
        wire = model.wire_node(format!("{name}.batch"), TypedConcat { axis: 0 }, &copies)?[0];
    }
    for inlet in readers {
        model.add_edge(wire, inlet)?;
    }
    inputs[0] = picture;
    model.set_input_outlets(&inputs)
}
