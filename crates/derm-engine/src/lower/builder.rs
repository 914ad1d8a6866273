//! The builder: what lowering a node may ask of the graph and add to the program.

use super::lower_node;
use super::value::{Held, Value, graph_order};
use crate::Options;
use crate::program::{
    BufferId, Conv, Copy, Dequantize, Element, Op, OpaqueId, Program, Step, Transpose,
};
use crate::weights::{
    Constants, Int8WeightKey, Int8Weights, PackedForm, PackedWeightCache, PackedWeightKey,
    StoredWeights, Strided, WeightOffsets, Weights,
};
use derm_kernels::{ConvGeometry, ConvPlan, Isa, PackedConv, PackedInt8, Precision, Table};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{TractErrorContext, ensure};

/// A program that is being written.
pub(crate) struct Builder<'a> {
    pub(super) model: &'a TypedModel,
    pub(super) constants: Constants<'a>,
    weights: &'a StoredWeights,
    precision: Option<Precision>,
    isa: Isa,
    cache: &'a mut PackedWeightCache,
    pub(super) program: Program,
    /// Bytes of the weights that were packed here and not found in the cache.
    pub(super) packed_bytes: usize,
    values: HashMap<OutletId, Value>,
    /// Values that are held as 8-bit numbers.
    held: HashMap<OutletId, Held>,
    /// What the numbers of a buffer are a function of: those of another.
    tables: HashMap<BufferId, (BufferId, Arc<Table>)>,
    /// Nodes that are lowered when their value is first asked for: see [`super::int8::deferred`].
    pub(super) deferred: HashSet<usize>,
    /// Values that are not float32.
    pub(super) opaque: HashMap<OutletId, OpaqueId>,
    /// What was packed, by the weights' outlet: gradients read the same.
    packed: HashMap<OutletId, Packed>,
    /// The name of the node that is being lowered.
    pub(super) name: String,
}

/// Packed weights, the geometry that they were packed for, and where each of them lay.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    pub(super) weights: PackedConv,
    pub(super) geometry: ConvGeometry,
    pub(super) offsets: WeightOffsets,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        model: &'a TypedModel,
        weights: &'a StoredWeights,
        options: &Options,
        cache: &'a mut PackedWeightCache,
    ) -> TractResult<Builder<'a>> {
        Ok(Builder {
            model,
            constants: Constants::of(model, weights)?,
            weights,
            precision: options.precision,
            isa: options.isa,
            cache,
            program: Program::default(),
            packed_bytes: 0,
            values: HashMap::new(),
            held: HashMap::new(),
            tables: HashMap::new(),
            deferred: HashSet::new(),
            opaque: HashMap::new(),
            packed: HashMap::new(),
            name: String::new(),
        })
    }

    /// Begins a phase with the input at `outlet`, whose axes lie in `order`.
    pub(super) fn begin_phase(&mut self, outlet: OutletId, order: Vec<usize>) -> TractResult<()> {
        let shape = self.shape(outlet)?;
        let buffer = self.program.add_buffer(shape.iter().product());
        self.program.inputs.push(buffer);
        self.values.insert(outlet, Value { buffer, shape, order });
        Ok(())
    }

    /// The shape of a value.
    pub(super) fn shape(&self, outlet: OutletId) -> TractResult<Vec<usize>> {
        let fact = self.model.outlet_fact(outlet)?;
        let shape = fact.shape.as_concrete();
        Ok(shape.with_context(|| format!("a size is not fixed: {fact:?}"))?.to_vec())
    }

    pub(super) fn is_float(&self, outlet: OutletId) -> TractResult<bool> {
        Ok(self.model.outlet_fact(outlet)?.datum_type == DatumType::F32)
    }

    pub(super) fn is_constant(&self, outlet: OutletId) -> bool {
        self.constants.contains(outlet)
    }

    pub(super) fn constant(&self, outlet: OutletId) -> TractResult<Strided<'a>> {
        self.constants.view(outlet)
    }

    /// Weights: a constant that a convolution or product multiplies by.
    pub(super) fn weights(&self, outlet: OutletId) -> TractResult<Weights<'a>> {
        self.constants.weights(outlet)
    }

    /// A value; a constant becomes one that each run copies from where it is kept, and 8-bit numbers
    /// become float32.
    pub(super) fn value(&mut self, outlet: OutletId) -> TractResult<Value> {
        self.lower_deferred(outlet.node)?;
        if let Some(value) = self.values.get(&outlet) {
            return Ok(value.clone());
        }
        if self.is_float(outlet)?
            && let Some(Held { value, scale, zero_point, .. }) = self.held.get(&outlet).cloned()
        {
            let dequantize = Dequantize { scale, zero_point, input: value.buffer };
            let buffer = self.push_new(dequantize, value.len());
            let value = Value { buffer, ..value };
            self.values.insert(outlet, value.clone());
            return Ok(value);
        }
        ensure!(self.is_constant(outlet), "{outlet:?} is not lowered");
        let view = self.constant(outlet)?;
        let (shape, order) = (view.shape.clone(), graph_order(view.shape.len()));
        let length = view.len();
        let buffer = self.push_new(Copy::of_constant(view.values(&order)), length);
        let value = Value { buffer, shape, order };
        self.values.insert(outlet, value.clone());
        Ok(value)
    }

    /// Lowers a node that was deferred, after those that it reads; without recursion, as a graph may
    /// be deep.
    fn lower_deferred(&mut self, node: usize) -> TractResult<()> {
        let mut pending = vec![node];
        while let Some(&next) = pending.last() {
            if !self.deferred.contains(&next) {
                pending.pop();
                continue;
            }
            let node = self.model.node(next);
            let is_missing = |input: &&OutletId| self.deferred.contains(&input.node);
            let missing: Vec<usize> =
                node.inputs.iter().filter(is_missing).map(|input| input.node).collect();
            if !missing.is_empty() {
                pending.extend(missing);
                continue;
            }
            self.deferred.remove(&next);
            let name = std::mem::replace(&mut self.name, node.name.clone());
            lower_node(self, node)
                .with_context(|| format!("{} ({})", node.name, node.op.name()))?;
            self.name = name;
        }
        Ok(())
    }

    /// Whether a float32 value was computed as such.
    pub(super) fn has_floats(&self, outlet: OutletId) -> bool {
        self.values.contains_key(&outlet)
    }

    /// A value that is held as 8-bit numbers.
    pub(super) fn held(&self, outlet: OutletId) -> Option<&Held> {
        self.held.get(&outlet)
    }

    /// Says that the value at `outlet` is held as 8-bit numbers.
    pub(super) fn set_held(&mut self, outlet: OutletId, held: Held) -> TractResult<()> {
        let shape = self.shape(outlet)?;
        debug_assert_eq!(shape.len(), held.value.order.len());
        let held = Held { value: Value { shape, ..held.value.clone() }, ..held };
        self.held.insert(outlet, held);
        Ok(())
    }

    /// Says that the numbers of `buffer` are a function of those of `of`.
    pub(super) fn set_table(&mut self, buffer: BufferId, of: BufferId, table: Arc<Table>) {
        self.tables.insert(buffer, (of, table));
    }

    /// The buffer that the numbers of `buffer` are a function of, and the function.
    pub(super) fn table(&self, buffer: BufferId) -> Option<&(BufferId, Arc<Table>)> {
        self.tables.get(&buffer)
    }

    /// Writes a step with an output of 8-bit numbers.
    pub(super) fn push_new_bytes(&mut self, op: impl Into<Op>, length: usize) -> BufferId {
        let output = self.program.add_buffer_of(Element::U8, length);
        self.push(op, output);
        output
    }

    /// Writes a step with an output of its own.
    pub(super) fn push_new(&mut self, op: impl Into<Op>, length: usize) -> BufferId {
        let output = self.program.add_buffer(length);
        self.push(op, output);
        output
    }

    /// Writes a step.
    pub(super) fn push(&mut self, op: impl Into<Op>, output: BufferId) {
        let phase = self.program.inputs.len() - 1;
        let step = Step { name: self.name.clone(), op: op.into(), output, phase };
        self.program.steps.push(step);
    }

    /// Says that the value at `outlet` is in `buffer`, with its axes in this order.
    pub(super) fn set(
        &mut self,
        outlet: OutletId,
        buffer: BufferId,
        order: Vec<usize>,
    ) -> TractResult<()> {
        let shape = self.shape(outlet)?;
        debug_assert_eq!(shape.len(), order.len());
        self.values.insert(outlet, Value { buffer, shape, order });
        Ok(())
    }

    /// The same value with its axes in this order.
    pub(super) fn in_order(&mut self, value: Value, order: Vec<usize>) -> Value {
        let reordered = Value { order, ..value.clone() };
        if reordered.significant() == value.significant() {
            return reordered;
        }
        let order: Vec<usize> = reordered
            .order
            .iter()
            .map(|axis| value.order.iter().position(|a| a == axis).expect("the same axes"))
            .collect();
        let (shape, length) = (value.physical(), value.len());
        let buffer = self.push_new(Transpose { shape, order, input: value.buffer }, length);
        Value { buffer, ..reordered }
    }

    /// The same value with these axes at the end, in this order.
    pub(super) fn with_last(&mut self, value: Value, axes: &[usize]) -> Value {
        let others = value.order.iter().copied().filter(|axis| !axes.contains(axis));
        let order = others.chain(axes.iter().copied()).collect();
        self.in_order(value, order)
    }

    /// The same value with its axes in the graph's order.
    pub(super) fn in_graph_order(&mut self, value: Value) -> Value {
        let order = graph_order(value.shape.len());
        self.in_order(value, order)
    }

    /// A convolution whose output is `outlet`.
    pub(super) fn convolve(
        &mut self,
        outlet: OutletId,
        weights: PackedConv,
        geometry: &ConvGeometry,
        input: BufferId,
        order: Vec<usize>,
    ) -> TractResult<()> {
        let plan = ConvPlan::new(weights, geometry);
        let conv = Conv { plan, input, epilogue: Vec::new() };
        let buffer = self.push_new(conv, geometry.output_len());
        self.set(outlet, buffer, order)
    }

    /// The weights at `outlet`, packed unless an engine of this model has packed them: in 8 bits where
    /// they are integers with a scale for each output channel, else in the precision of the file.
    pub(super) fn pack(
        &mut self,
        outlet: OutletId,
        weights: &Weights<'_>,
        geometry: &ConvGeometry,
        offsets: WeightOffsets,
    ) -> PackedConv {
        let int8 = match weights {
            Weights::Int8(int8) => int8.channel_scales(&offsets).map(|all| (int8, all)),
            Weights::Float(_) => None,
        };
        let stored = || self.constants.precision(outlet);
        let precision = self.precision.unwrap_or_else(stored);
        let (origin, form) = match &int8 {
            Some((int8, scales)) => (int8.origin.clone(), PackedForm::int8(scales)),
            None => (self.constants.origin(outlet), PackedForm::Float(precision)),
        };
        let key = origin.map(|origin| PackedWeightKey {
            origin,
            form,
            isa: self.isa,
            channels: [geometry.inputs(), geometry.outputs(), geometry.groups()],
            window: [geometry.rows().kernel(), geometry.columns().kernel()],
            layout: offsets.layout(),
        });
        let known = key.as_ref().and_then(|key| self.cache.get(key)).cloned();
        let packed = known.unwrap_or_else(|| {
            let packed = match &int8 {
                Some((int8, scales)) => {
                    PackedConv::int8(self.isa, scales, geometry, int8.finder(&offsets))
                }
                None => weights.packed(self.isa, precision, geometry, &offsets),
            };
            self.packed_bytes += packed.bytes();
            self.weights.release(weights.view());
            if let Some(key) = key {
                self.cache.insert(key, packed.clone());
            }
            packed
        });
        let known = Packed { weights: packed.clone(), geometry: *geometry, offsets };
        self.packed.insert(outlet, known);
        packed
    }

    /// 8-bit weights, packed unless an engine of this model has packed them; see [`Builder::pack`].
    pub(super) fn pack_int8(
        &mut self,
        weights: &Int8Weights<'_>,
        geometry: &ConvGeometry,
        offsets: &WeightOffsets,
    ) -> PackedInt8 {
        let key = weights.origin.clone().map(|origin| Int8WeightKey {
            origin,
            isa: self.isa,
            channels: [geometry.inputs(), geometry.outputs(), geometry.groups()],
            window: [geometry.rows().kernel(), geometry.columns().kernel()],
            layout: offsets.layout(),
        });
        let known = key.as_ref().and_then(|key| self.cache.int8(key)).cloned();
        known.unwrap_or_else(|| {
            let packed = PackedInt8::new(self.isa, geometry, weights.finder(offsets));
            self.packed_bytes += packed.bytes();
            self.weights.release(&weights.view);
            if let Some(key) = key {
                self.cache.insert_int8(key, packed.clone());
            }
            packed
        })
    }

    /// The weights at `outlet`, if they were packed.
    pub(super) fn packed(&self, outlet: OutletId) -> Option<&Packed> {
        self.packed.get(&outlet)
    }
}
