//! Constants: which values of a graph do not depend on its inputs, and what they are.

use super::file::StoredWeights;
use super::offsets::WeightOffsets;
use super::strided::{Numbers, Strided};
use crate::graph_ops::Dequantize;
use derm_kernels::{ChannelScale, ConvGeometry, Isa, PackedConv, Precision};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{AxisOp, TractErrorContext, bail, ensure};
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::source::TypedSource;

/// The constants of a graph: values that tract knows, stored weights, and what is computed from
/// constants alone. One pass over the nodes finds them.
#[derive(Debug)]
pub struct Constants<'a> {
    model: &'a TypedModel,
    weights: &'a StoredWeights,
    outlets: HashSet<OutletId>,
}

impl<'a> Constants<'a> {
    /// The constants of `model`, whose stored weights are `weights`.
    ///
    /// # Errors
    /// If the graph has a cycle.
    pub fn of(model: &'a TypedModel, weights: &'a StoredWeights) -> TractResult<Constants<'a>> {
        let mut constants = Constants { model, weights, outlets: HashSet::new() };
        for id in topological_order(model)? {
            let node = model.node(id);
            let is_computed = !node.inputs.is_empty()
                && !node.op_is::<TypedSource>()
                && node.inputs.iter().all(|&input| constants.contains(input));
            for (slot, output) in node.outputs.iter().enumerate() {
                let outlet = OutletId::new(id, slot);
                let is_known = output.fact.konst.is_some();
                if is_computed || is_known || weights.stored(model, outlet).is_some() {
                    constants.outlets.insert(outlet);
                }
            }
        }
        Ok(constants)
    }

    /// Whether the value does not depend on the graph's inputs.
    pub fn contains(&self, outlet: OutletId) -> bool {
        self.outlets.contains(&outlet)
    }

    /// A constant as a tensor.
    ///
    /// # Errors
    /// If it is none, or tract cannot compute it.
    pub fn tensor(&self, outlet: OutletId) -> TractResult<Arc<Tensor>> {
        ensure!(self.contains(outlet), "{outlet:?} is not constant");
        let mut known: HashMap<OutletId, Arc<Tensor>> = HashMap::new();
        // Depth first without recursion: a node is evaluated once its inputs are known.
        let mut pending = vec![outlet];
        while let Some(&next) = pending.last() {
            if known.contains_key(&next) {
                pending.pop();
                continue;
            }
            let node = self.model.node(next.node);
            if let Some(tensor) = self.given(next)? {
                known.insert(next, tensor);
                continue;
            }
            let missing = node.inputs.iter().filter(|input| !known.contains_key(input));
            let missing: Vec<OutletId> = missing.copied().collect();
            if !missing.is_empty() {
                pending.extend(missing);
                continue;
            }
            let inputs = node.inputs.iter().map(|input| Arc::clone(&known[input]).into_tvalue());
            let outputs = match node.op_as::<Dequantize>() {
                Some(dequantize) => tvec!(dequantize.apply(&known[&node.inputs[0]])?.into_tvalue()),
                None => {
                    let outputs = node.op.eval_out_of_plan(inputs.collect())?;
                    outputs.with_context(|| format!("{} is not constant", node.name))?
                }
            };
            for (slot, output) in outputs.into_iter().enumerate() {
                known.insert(OutletId::new(next.node, slot), output.into_arc_tensor());
            }
            ensure!(known.contains_key(&next), "{} has no output {}", node.name, next.slot);
        }
        Ok(known.remove(&outlet).expect("the loop ends when it is known"))
    }

    /// A constant that need not be computed.
    fn given(&self, outlet: OutletId) -> TractResult<Option<Arc<Tensor>>> {
        let fact = self.model.outlet_fact(outlet)?;
        if let Some(constant) = &fact.konst {
            return Ok(Some(Arc::clone(constant)));
        }
        let Some(stored) = self.weights.tensor(self.model, outlet) else { return Ok(None) };
        Ok(Some(stored?.cast_to_dt(fact.datum_type)?.into_owned().into_arc_tensor()))
    }

    /// The precision in which a constant's numbers are stored: half if that of any operand is.
    pub(crate) fn precision(&self, outlet: OutletId) -> Precision {
        let (mut seen, mut pending) = (HashSet::new(), vec![outlet]);
        while let Some(next) = pending.pop() {
            if !seen.insert(next) {
                continue;
            }
            match self.weights.stored(self.model, next) {
                Some(stored) if stored.datum_type == DatumType::F16 => return Precision::F16,
                Some(_) => {}
                None => pending.extend(&self.model.node(next.node).inputs),
            }
        }
        Precision::F32
    }

    /// Where a constant comes from, if that is one stored tensor with at most its axes and its type
    /// changed: the same for the same numbers in every graph of the model.
    pub(crate) fn origin(&self, outlet: OutletId) -> Option<Origin> {
        let mut changes = Vec::new();
        let mut next = outlet;
        loop {
            let node = self.model.node(next.node);
            if self.weights.stored(self.model, next).is_some() {
                return Some(Origin { tensor: node.name.clone(), changes });
            }
            let [input] = node.inputs[..] else { return None };
            if !node.op_is::<AxisOp>() && !node.op_is::<Cast>() {
                return None;
            }
            changes.push(format!("{:?}", node.op));
            next = input;
        }
    }

    /// A constant's numbers, read where they lie in the file if only their axes are changed.
    ///
    /// # Errors
    /// As [`Constants::tensor`].
    pub(crate) fn view(&self, outlet: OutletId) -> TractResult<Strided<'a>> {
        if let Some(view) = self.stored_view(outlet)? {
            return Ok(view);
        }
        let tensor = self.tensor(outlet)?.cast_to_dt(DatumType::F32)?.into_owned();
        let values = tensor.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
        Ok(Strided::contiguous(tensor.shape().to_vec(), Numbers::Values(values), 0..0))
    }

    /// Weights: a constant that a convolution or product multiplies by.
    ///
    /// # Errors
    /// As [`Constants::tensor`].
    pub(crate) fn weights(&self, outlet: OutletId) -> TractResult<Weights<'a>> {
        Ok(match self.int8_view(outlet)? {
            Some(weights) => Weights::Int8(weights),
            None => Weights::Float(self.view(outlet)?),
        })
    }

    /// A constant that is dequantised from 8-bit weights, as these weights, their scales and their zero
    /// points; `None` for any other.
    ///
    /// # Errors
    /// As [`Constants::tensor`].
    pub(crate) fn int8_view(&self, outlet: OutletId) -> TractResult<Option<Int8Weights<'a>>> {
        let mut changes: Vec<(&AxisOp, OutletId)> = Vec::new();
        let mut next = outlet;
        let (source, dequantize) = loop {
            let node = self.model.node(next.node);
            if let Some(dequantize) = node.op_as::<Dequantize>() {
                break (node.inputs[0], dequantize);
            }
            let Some(change) = node.op_as::<AxisOp>() else { return Ok(None) };
            changes.push((change, next));
            next = node.inputs[0];
        };
        let datum_type = self.model.outlet_fact(source)?.datum_type;
        // Unsigned weights about 128 are signed ones about 0.
        let offset = match datum_type {
            DatumType::I8 => 0,
            DatumType::U8 => 128,
            _ => return Ok(None),
        };
        let channels = dequantize.scales.iter().zip(&*dequantize.zero_points);
        let channels = channels.map(|(&scale, zero_point)| {
            let zero_point = i8::try_from(zero_point.checked_sub(offset)?).ok()?;
            Some(ChannelScale { scale, zero_point })
        });
        let Some(scales) = channels.collect::<Option<Vec<ChannelScale>>>() else {
            return Ok(None);
        };
        let mut view = self.integers(source)?;
        let after = view.shape.get(dequantize.axis + 1..);
        let stride = after.map_or(1, |after| after.iter().product());
        for (change, outlet) in changes.into_iter().rev() {
            match view.with_axes(change, self.model.outlet_fact(outlet)?) {
                Some(changed) => view = changed,
                None => return Ok(None),
            }
        }
        Ok(Some(Int8Weights { view, scales, stride, origin: self.origin(source) }))
    }

    /// A constant of 8-bit integers, read where it lies in the file if it is stored as it is.
    fn integers(&self, outlet: OutletId) -> TractResult<Strided<'a>> {
        if let Some(view) = self.weights.view(self.model, outlet) {
            return Ok(view);
        }
        let tensor = self.tensor(outlet)?;
        let plain = tensor.try_as_plain_ram()?;
        let bytes = plain.as_bytes().to_vec().into();
        let numbers = match plain.datum_type() {
            DatumType::I8 => Numbers::I8(bytes),
            DatumType::U8 => Numbers::U8(bytes),
            other => bail!("integers of 8 bits are of type {other:?}"),
        };
        Ok(Strided::contiguous(tensor.shape().to_vec(), numbers, 0..0))
    }

    fn stored_view(&self, outlet: OutletId) -> TractResult<Option<Strided<'a>>> {
        let mut changes: Vec<(&AxisOp, OutletId)> = Vec::new();
        let mut next = outlet;
        let mut view = loop {
            if let Some(view) = self.weights.view(self.model, next) {
                break view;
            }
            let node = self.model.node(next.node);
            if let Some(change) = node.op_as::<AxisOp>() {
                changes.push((change, next));
            } else if node.op_as::<Cast>().is_none_or(|cast| cast.to != DatumType::F32) {
                return Ok(None);
            }
            next = node.inputs[0];
        };
        for (change, outlet) in changes.into_iter().rev() {
            match view.with_axes(change, self.model.outlet_fact(outlet)?) {
                Some(changed) => view = changed,
                None => return Ok(None),
            }
        }
        Ok(Some(view))
    }
}

/// Weights: what a convolution or product multiplies by.
pub(crate) enum Weights<'a> {
    Float(Strided<'a>),
    Int8(Int8Weights<'a>),
}

impl<'a> Weights<'a> {
    /// The stored numbers.
    pub(crate) fn view(&self) -> &Strided<'a> {
        match self {
            Weights::Float(view) => view,
            Weights::Int8(weights) => &weights.view,
        }
    }

    /// Packs them as floats, in this precision.
    pub(crate) fn packed(
        &self,
        isa: Isa,
        precision: Precision,
        geometry: &ConvGeometry,
        offsets: &WeightOffsets,
    ) -> PackedConv {
        match self {
            Weights::Float(view) => view.packed(isa, precision, geometry, offsets),
            Weights::Int8(weights) => {
                let offset = offsets.finder();
                let value = |o, i, t| weights.value(offset(o, i, t));
                PackedConv::new(isa, precision, geometry, None, value)
            }
        }
    }
}

/// Signed 8-bit weights, and what they stand for.
pub(crate) struct Int8Weights<'a> {
    pub(crate) view: Strided<'a>,
    scales: Vec<ChannelScale>,
    /// Of the axis along which the scales vary, in the stored tensor.
    stride: usize,
    /// Where they come from; see [`Constants::origin`].
    pub(crate) origin: Option<Origin>,
}

impl Int8Weights<'_> {
    /// A function that finds the integer of an output channel, an input channel of its group, and a tap.
    pub(crate) fn finder(
        &self,
        offsets: &WeightOffsets,
    ) -> impl Fn(usize, usize, usize) -> i8 + Copy {
        let (integers, offset) = (self.view.integers(), offsets.finder());
        move |output, input, tap| integers.at(offset(output, input, tap))
    }

    /// What the integer at an offset stands for.
    fn value(&self, offset: usize) -> f32 {
        let ChannelScale { scale, zero_point } = self.scales[self.scale_index(offset)];
        (f32::from(self.view.integers().at(offset)) - f32::from(zero_point)) * scale
    }

    /// Which of the scales is that of the integer at an offset.
    fn scale_index(&self, offset: usize) -> usize {
        offset / self.stride % self.scales.len()
    }

    /// Channel scales: the scale of each output channel; `None` where it varies within a channel.
    pub(crate) fn channel_scales(&self, offsets: &WeightOffsets) -> Option<Vec<ChannelScale>> {
        // What an input channel or a tap adds to the index of the scale, it adds for each output channel.
        let mut within = offsets.inputs.iter().chain(&offsets.taps);
        let is_one = self.scales.windows(2).all(|pair| pair[0] == pair[1]);
        if !is_one && within.any(|&offset| self.scale_index(offset) != 0) {
            return None;
        }
        let of_channel = |&offset| self.scales[self.scale_index(offset)];
        Some(offsets.outputs.iter().map(of_channel).collect())
    }
}

/// A stored tensor, and the operators that changed its axes and type since.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    tensor: String,
    changes: Vec<String>,
}

/// Every node of a graph after the nodes that it reads; also those that no output needs.
fn topological_order(model: &TypedModel) -> TractResult<Vec<usize>> {
    let mut missing: Vec<usize> = model.nodes().iter().map(|node| node.inputs.len()).collect();
    let mut ready: Vec<usize> = (0..missing.len()).filter(|&id| missing[id] == 0).collect();
    let mut order = Vec::with_capacity(missing.len());
    while let Some(id) = ready.pop() {
        order.push(id);
        for successor in model.node(id).outputs.iter().flat_map(|output| &output.successors) {
            missing[successor.node] -= 1;
            if missing[successor.node] == 0 {
                ready.push(successor.node);
            }
        }
    }
    ensure!(order.len() == missing.len(), "the graph has a cycle");
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four weights, `[output channel, input channel]`, that were stored as `[4]`.
    fn weights(scales: &[f32], stride: usize) -> (Int8Weights<'static>, WeightOffsets) {
        let view = Strided::contiguous(vec![2, 2], Numbers::I8(vec![1, 2, 3, 4].into()), 0..0);
        let offsets = WeightOffsets::of_window(&view);
        let scales = scales.iter().map(|&scale| ChannelScale { scale, zero_point: 0 }).collect();
        (Int8Weights { view, scales, stride, origin: None }, offsets)
    }

    fn channel_scales(scales: &[f32], stride: usize) -> Option<Vec<f32>> {
        let (weights, offsets) = weights(scales, stride);
        let found = weights.channel_scales(&offsets)?;
        Some(found.into_iter().map(|channel| channel.scale).collect())
    }

    #[test]
    fn scales_are_of_output_channels_only_where_none_varies_within_one() {
        assert_eq!(channel_scales(&[0.5], 4), Some(vec![0.5, 0.5]));
        assert_eq!(channel_scales(&[0.5, 0.25], 2), Some(vec![0.5, 0.25]));
        assert_eq!(channel_scales(&[0.5, 0.25], 1), None);
        // One for each weight: the first channel has one scale, the second has two.
        assert_eq!(channel_scales(&[0.5, 0.5, 0.25, 0.125], 1), None);
        assert_eq!(channel_scales(&[0.5; 4], 1), Some(vec![0.5, 0.5]));
    }
}
