//! The quantised file: pairs of `QuantizeLinear` and `DequantizeLinear` around each value, weights as
//! int8 with a scale for each output channel, biases as int32 of the products' scale.
//!
//! `DequantizeLinear` takes the value's name, so that nothing that reads it is changed.

use crate::Error;
use crate::constants::remove_unread;
use crate::graph::{View, float_tensor, tensor, volume};
use crate::observe::Statistics;
use crate::placement::Placement;
use crate::product::Product;
use derm_onnx::message::{
    AttributeProto, AttributeType, DataType, ModelProto, NodeProto, TensorProto,
};
use derm_onnx::{floats, names_in_use, unused};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Largest number of a weight: the range is symmetric.
const LARGEST_WEIGHT: f32 = 127.0;
/// Largest bias, in units of the products: with the sum of products it fits 32 bits.
const LARGEST_BIAS: f32 = (1 << 28) as f32;

/// How one quantised network differs from another of the same float network.
pub(crate) struct Choice<'a> {
    pub(crate) placement: &'a Placement,
    /// The range of each value that has one of its own.
    pub(crate) ranges: &'a BTreeMap<String, (f32, f32)>,
    /// Means of the channels, where biases are corrected by them.
    pub(crate) corrected_by: Option<&'a BTreeMap<String, Statistics>>,
    /// Weights that stay in float become float16.
    pub(crate) half: bool,
}

/// Scale and zero point of 8-bit numbers.
#[derive(Debug, Clone, Copy)]
struct Scale {
    scale: f32,
    zero_point: u8,
}

impl Scale {
    fn of((low, high): (f32, f32)) -> Scale {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let scale = (high - low) / 255.0;
        if !(scale.is_finite() && scale >= f32::MIN_POSITIVE) {
            return Scale { scale: 1.0 / 255.0, zero_point: 0 };
        }
        Scale { scale, zero_point: (-low / scale).round().clamp(0.0, 255.0) as u8 }
    }
}

/// Writes the quantised network.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn insert(model: &ModelProto, choice: &Choice<'_>) -> Result<ModelProto, Error> {
    let graph = model.graph.get_or_default();
    let mut writer = Writer {
        choice,
        view: View::of(graph),
        names: names_in_use(model),
        nodes: graph.node.clone(),
        tensors: Vec::new(),
        first: Vec::new(),
        weights: HashMap::new(),
        scales: HashMap::new(),
    };
    for layer in choice.placement.layers.iter().filter(|layer| layer.is_product) {
        writer.product(layer.node, layer.added)?;
    }
    writer.values();
    let Writer { nodes, tensors, first, weights, .. } = writer;
    let mut result = model.clone();
    let target = result.graph.mut_or_insert_default();
    target.node = nodes;
    // Their names are those of the dequantised weights now.
    target.initializer.retain(|tensor| !weights.contains_key(&tensor.name));
    remove_unread(target);
    if choice.half {
        match derm_onnx::narrow(&mut result) {
            Ok(_) | Err(derm_onnx::Error::AlreadyHalf | derm_onnx::Error::NothingToNarrow) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let target = result.graph.mut_or_insert_default();
    target.initializer.extend(tensors);
    target.node.splice(0..0, first);
    Ok(result)
}

struct Writer<'a> {
    choice: &'a Choice<'a>,
    view: View<'a>,
    names: HashSet<String>,
    nodes: Vec<NodeProto>,
    tensors: Vec<TensorProto>,
    /// Nodes on constants: they come first.
    first: Vec<NodeProto>,
    /// The scales of the weights that are written, by their name.
    weights: HashMap<String, Vec<f32>>,
    /// The names of a value's scale and zero point, by the value that it has them from.
    scales: HashMap<String, [String; 2]>,
}

impl<'a> Writer<'a> {
    fn name(&mut self, of: &str, suffix: &str) -> String {
        unused(&format!("{of}.{suffix}"), &mut self.names)
    }

    fn scale(&self, value: &str) -> Scale {
        let origin = self.choice.placement.origin(value);
        Scale::of(self.choice.ranges.get(origin).copied().unwrap_or_default())
    }

    /// A product's weights and its bias.
    fn product(&mut self, index: usize, added: Option<(usize, usize)>) -> Result<(), Error> {
        let node = self.view.node(index);
        let Some(product) = Product::of(&self.view, node) else { return Ok(()) };
        let input = self.scale(&node.input[0]).scale;
        let values = floats(product.weights)?;
        let mut bias = product.bias.map(floats).transpose()?;
        let scales = match self.weights.get(&product.weights.name) {
            Some(scales) => scales.clone(),
            None => {
                let scales = weight_scales(&product, &values, bias.as_deref(), input);
                self.write_weights(&product, &values, &scales);
                scales
            }
        };
        if let Some(correction) = self.correction(&node.input[0], &product, &values, &scales) {
            match (&mut bias, added) {
                (None, Some((reader, slot))) => {
                    return self.correct_added(reader, slot, &correction);
                }
                // A product of matrices has no bias of its own.
                (None, None) if !product.is_convolution() => return Ok(()),
                (bias, _) => {
                    let bias = bias.get_or_insert_with(|| vec![0.0; product.outputs]);
                    bias.iter_mut().zip(&correction).for_each(|(bias, by)| *bias -= by);
                }
            }
        }
        if let Some(bias) = bias {
            self.write_bias(index, &bias, &scales, input);
        }
        Ok(())
    }

    fn write_weights(&mut self, product: &Product<'_>, values: &[f32], scales: &[f32]) {
        let weights = product.weights;
        let numbers = values.iter().zip(product.channels());
        let numbers = numbers.map(|(&value, (output, _))| rounded(value, scales[output]) as u8);
        let stored = self.name(&weights.name, "int8");
        self.tensors.push(tensor(&stored, DataType::INT8, &weights.dims, numbers.collect()));
        let of = weights.name.clone();
        let zeros = vec![0; scales.len()];
        self.dequantize(&of, stored, scales, (DataType::INT8, zeros), product.axis, of.clone());
        self.weights.insert(of, scales.to_vec());
    }

    fn write_bias(&mut self, index: usize, bias: &[f32], scales: &[f32], input: f32) {
        let output = self.nodes[index].output[0].clone();
        let units: Vec<f32> = scales.iter().map(|scale| scale * input).collect();
        let numbers = bias.iter().zip(&units).flat_map(|(&bias, &unit)| {
            let number = (f64::from(bias) / f64::from(unit)).round();
            (number.clamp(f64::from(i32::MIN), f64::from(i32::MAX)) as i32).to_le_bytes()
        });
        let numbers = numbers.collect();
        let stored = self.name(&output, "bias.int32");
        self.tensors.push(tensor(&stored, DataType::INT32, &[bias.len() as i64], numbers));
        let name = self.name(&output, "bias");
        let zeros = vec![0; 4 * scales.len()];
        self.dequantize(&name, stored, &units, (DataType::INT32, zeros), 0, name.clone());
        self.nodes[index].input.truncate(2);
        self.nodes[index].input.push(name);
    }

    /// `DequantizeLinear` of a constant along an axis.
    fn dequantize(
        &mut self,
        of: &str,
        stored: String,
        scales: &[f32],
        (kind, zeros): (DataType, Vec<u8>),
        axis: usize,
        output: String,
    ) {
        let [scale, zero] = ["scale", "zero_point"].map(|suffix| self.name(of, suffix));
        let length = [scales.len() as i64];
        self.tensors.push(float_tensor(&scale, &length, scales));
        self.tensors.push(tensor(&zero, kind, &length, zeros));
        let mut node = node("DequantizeLinear", of, [stored, scale, zero], output);
        node.attribute.push(AttributeProto {
            name: "axis".to_owned(),
            type_: AttributeType::INT.into(),
            i: axis as i64,
            ..AttributeProto::default()
        });
        self.first.push(node);
    }

    /// For each output channel how much rounding the weights adds to it on average (Nagel et al. 2019):
    /// the errors of the weights times the means of the input channels.
    fn correction(
        &self,
        input: &str,
        product: &Product<'_>,
        values: &[f32],
        scales: &[f32],
    ) -> Option<Vec<f32>> {
        let means = self.choice.corrected_by?.get(input)?.means();
        if means.len() != product.inputs() {
            return None;
        }
        let mut sums = vec![0f64; product.outputs];
        for (&value, (output, input)) in values.iter().zip(product.channels()) {
            let scale = scales[output];
            let error = f32::from(rounded(value, scale)) * scale - value;
            sums[output] += f64::from(error) * means[input];
        }
        Some(sums.into_iter().map(|sum| sum as f32).collect())
    }

    /// Corrects the constants that an addition behind a product reads.
    fn correct_added(
        &mut self,
        reader: usize,
        slot: usize,
        correction: &[f32],
    ) -> Result<(), Error> {
        let Some(constants) = self.view.float_input(self.view.node(reader), slot) else {
            return Ok(());
        };
        let mut values = floats(constants)?;
        if volume(constants) != correction.len() {
            return Ok(());
        }
        values.iter_mut().zip(correction).for_each(|(value, by)| *value -= by);
        let name = self.name(&constants.name, "corrected");
        self.tensors.push(float_tensor(&name, &constants.dims, &values));
        self.nodes[reader].input[slot] = name;
        Ok(())
    }

    /// The pairs around each value.
    fn values(&mut self) {
        let placement = self.choice.placement;
        let mut after: HashMap<usize, Vec<NodeProto>> = HashMap::new();
        let mut before = Vec::new();
        for value in &placement.values {
            let [scale, zero] = self.stored_scale(&value.name);
            let numbers = self.name(&value.name, "uint8");
            let (float, dequantized, place) = match self.view.producer(&value.name) {
                Some(index) => {
                    let float = self.name(&value.name, "float");
                    let outputs = self.nodes[index].output.iter_mut();
                    outputs.filter(|name| **name == value.name).for_each(|name| {
                        name.clone_from(&float);
                    });
                    (float, value.name.clone(), after.entry(index).or_default())
                }
                None => {
                    let dequantized = self.name(&value.name, "dequantized");
                    let inputs = self.nodes.iter_mut().flat_map(|node| &mut node.input);
                    inputs.filter(|name| **name == value.name).for_each(|name| {
                        name.clone_from(&dequantized);
                    });
                    (value.name.clone(), dequantized, &mut before)
                }
            };
            let inputs = [float, scale.clone(), zero.clone()];
            place.push(node("QuantizeLinear", &value.name, inputs, numbers.clone()));
            let inputs = [numbers, scale, zero];
            place.push(node("DequantizeLinear", &value.name, inputs, dequantized));
        }
        let nodes = std::mem::take(&mut self.nodes);
        self.nodes = before;
        for (index, node) in nodes.into_iter().enumerate() {
            self.nodes.push(node);
            self.nodes.extend(after.remove(&index).unwrap_or_default());
        }
    }

    fn stored_scale(&mut self, value: &str) -> [String; 2] {
        let origin = self.choice.placement.origin(value).to_owned();
        if let Some(names) = self.scales.get(&origin) {
            return names.clone();
        }
        let Scale { scale, zero_point } = self.scale(&origin);
        let names = ["scale", "zero_point"].map(|suffix| self.name(&origin, suffix));
        self.tensors.push(float_tensor(&names[0], &[], &[scale]));
        self.tensors.push(tensor(&names[1], DataType::UINT8, &[], vec![zero_point]));
        self.scales.insert(origin, names.clone());
        names
    }
}

/// For each output channel the scale of its weights: at least so large that its bias fits.
fn weight_scales(
    product: &Product<'_>,
    values: &[f32],
    bias: Option<&[f32]>,
    input: f32,
) -> Vec<f32> {
    let mut scales = vec![0f32; product.outputs];
    for (value, (output, _)) in values.iter().zip(product.channels()) {
        scales[output] = scales[output].max(value.abs() / LARGEST_WEIGHT);
    }
    for (output, scale) in scales.iter_mut().enumerate() {
        let least = bias.map_or(0.0, |bias| bias[output].abs() / (input * LARGEST_BIAS));
        *scale = scale.max(least);
        if *scale < f32::MIN_POSITIVE {
            *scale = 1.0 / LARGEST_WEIGHT;
        }
    }
    scales
}

fn rounded(value: f32, scale: f32) -> i8 {
    (value / scale).round_ties_even().clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT) as i8
}

fn node(op: &str, of: &str, input: [String; 3], output: String) -> NodeProto {
    NodeProto {
        op_type: op.to_owned(),
        name: format!("{of}.{op}"),
        input: input.to_vec(),
        output: vec![output],
        ..NodeProto::default()
    }
}
