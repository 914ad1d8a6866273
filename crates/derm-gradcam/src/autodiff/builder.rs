//! Graph builder: a copy of the forward graph, to which the backward pass is appended.

use super::checkpoint::{Checkpoints, is_cheap};
use derm_engine::graph_ops::Quantize;
use derm_model::Constants;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::TractErrorContext;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::array::MultiBroadcastTo;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::source::TypedSource;

/// The graph that is built from `model`, the graph that is differentiated.
pub(crate) struct GraphBuilder<'a> {
    model: &'a TypedModel,
    constants: &'a Constants<'a>,
    checkpoints: &'a Checkpoints,
    pub(crate) graph: TypedModel,
    /// The outlet of `graph` that computes a value of `model` in the forward pass.
    forward: HashMap<OutletId, OutletId>,
    /// The outlet that computes it again: a recomputed activation, or a replayed one.
    again: HashMap<OutletId, OutletId>,
    /// Activations of the forward pass that rules read.
    read_by_rules: HashSet<OutletId>,
    /// Makes the names of added nodes unique.
    added: usize,
}

impl<'a> GraphBuilder<'a> {
    pub(super) fn new(
        model: &'a TypedModel,
        constants: &'a Constants<'a>,
        checkpoints: &'a Checkpoints,
    ) -> GraphBuilder<'a> {
        GraphBuilder {
            model,
            constants,
            checkpoints,
            graph: TypedModel::default(),
            forward: HashMap::new(),
            again: HashMap::new(),
            read_by_rules: HashSet::new(),
            added: 0,
        }
    }

    /// Copies the forward graph; node ids of the copy are in evaluation order.
    pub(super) fn copy_forward(&mut self) -> TractResult<()> {
        for id in self.model.eval_order()? {
            let node = self.model.node(id);
            let facts = node.outputs.iter().map(|output| output.fact.clone()).collect();
            let copy = self.graph.add_node(node.name.clone(), node.op.clone(), facts)?;
            for (slot, input) in node.inputs.iter().enumerate() {
                self.graph.add_edge(self.forward[input], InletId::new(copy, slot))?;
            }
            for slot in 0..node.outputs.len() {
                self.forward.insert(OutletId::new(id, slot), OutletId::new(copy, slot));
            }
        }
        let inputs = self.model.input_outlets()?.iter();
        self.graph.inputs = inputs.filter_map(|input| self.forward.get(input).copied()).collect();
        Ok(())
    }

    /// Selects the graph's outputs: values of the forward pass, then one that was added.
    pub(super) fn select_outputs(
        &mut self,
        forward: &[OutletId],
        added: OutletId,
    ) -> TractResult<()> {
        let forward = forward.iter().map(|value| self.forward[value]);
        let outputs: Vec<OutletId> = forward.chain([added]).collect();
        self.graph.select_output_outlets(&outputs)
    }

    pub(super) fn read_by_rules(&self) -> &HashSet<OutletId> {
        &self.read_by_rules
    }

    /// Whether it depends on the input and is float32, or stands for such a value: what it was
    /// quantised to, or the picture's pixels as integers.
    pub(super) fn is_differentiable(&self, outlet: OutletId) -> bool {
        !self.constants.contains(outlet) && self.stands_for_float(outlet)
    }

    fn stands_for_float(&self, outlet: OutletId) -> bool {
        let node = self.model.node(outlet.node);
        let fact = &node.outputs[outlet.slot].fact;
        if fact.datum_type == DatumType::F32 || node.op_is::<Quantize>() {
            return true;
        }
        match node.op_as::<Cast>() {
            Some(cast) if !cast.to.is_float() => self.is_moved_input(node.inputs[0]),
            Some(_) => self.stands_for_float(node.inputs[0]),
            None if node.op_is::<AxisOp>() => self.stands_for_float(node.inputs[0]),
            None => node.op_is::<TypedSource>(),
        }
    }

    /// Whether it is the input itself, its axes in another order or its elements of another type.
    fn is_moved_input(&self, outlet: OutletId) -> bool {
        let node = self.model.node(outlet.node);
        let moves = node.op_is::<AxisOp>() || node.op_is::<Cast>();
        node.op_is::<TypedSource>() || moves && self.is_moved_input(node.inputs[0])
    }

    /// Zeros of a value's shape.
    pub(super) fn zeros(&mut self, of: OutletId) -> TractResult<OutletId> {
        let shape = self.shape(of)?;
        let ones = vec![1; shape.len()];
        let zero = self.constant(Tensor::zero::<f32>(&ones)?)?;
        self.wire(MultiBroadcastTo { shape: (*shape).into() }, &[zero])
    }

    /// The shape of a value of `model`.
    pub(crate) fn shape(&self, outlet: OutletId) -> TractResult<TVec<usize>> {
        let fact = self.model.outlet_fact(outlet)?;
        let shape = fact.shape.as_concrete();
        Ok(shape.with_context(|| format!("a dimension is not fixed: {fact:?}"))?.into())
    }

    /// A value of `model`, to be read by a rule: the forward pass's where it is a checkpoint, else
    /// recomputed.
    pub(crate) fn value(&mut self, outlet: OutletId) -> TractResult<OutletId> {
        if self.constants.contains(outlet) {
            return Ok(self.forward[&outlet]);
        }
        if let Some(&again) = self.again.get(&outlet) {
            return Ok(again);
        }
        let node = self.model.node(outlet.node);
        if node.op_is::<TypedSource>() {
            return Ok(self.forward[&outlet]);
        }
        if self.checkpoints.has(outlet) && !is_cheap(self.constants, node) {
            self.read_by_rules.insert(outlet);
            return Ok(self.forward[&outlet]);
        }
        let inputs = node
            .inputs
            .iter()
            .map(|&input| self.value(input))
            .collect::<TractResult<TVec<OutletId>>>()?;
        self.copy_node(outlet.node, &inputs)?;
        Ok(self.again[&outlet])
    }

    /// From now on `outlet` is computed by `by`.
    pub(super) fn replace(&mut self, outlet: OutletId, by: OutletId) {
        self.again.insert(outlet, by);
    }

    /// What computes a value last: its second copy, where there is one.
    pub(super) fn latest(&self, outlet: OutletId) -> OutletId {
        *self.again.get(&outlet).unwrap_or(&self.forward[&outlet])
    }

    /// Appends a second copy of node `id`, which reads the latest values.
    pub(super) fn copy_again(&mut self, id: usize) -> TractResult<()> {
        let inputs = self.model.node(id).inputs.iter();
        let inputs: TVec<OutletId> = inputs.map(|&input| self.latest(input)).collect();
        self.copy_node(id, &inputs)
    }

    fn copy_node(&mut self, id: usize, inputs: &[OutletId]) -> TractResult<()> {
        let node = self.model.node(id);
        // Of what it reads here, which a replay may have made float32.
        let read = inputs.iter().map(|&input| Ok(self.graph.outlet_fact(input)?.without_value()));
        let read = read.collect::<TractResult<TVec<TypedFact>>>()?;
        let facts = node.op.output_facts(&read.iter().collect::<TVec<_>>())?;
        self.added += 1;
        let name = format!("{}.again{}", node.name, self.added);
        let copy = self.graph.add_node(name, node.op.clone(), facts)?;
        for (slot, &input) in inputs.iter().enumerate() {
            self.graph.add_edge(input, InletId::new(copy, slot))?;
        }
        for slot in 0..node.outputs.len() {
            self.again.insert(OutletId::new(id, slot), OutletId::new(copy, slot));
        }
        Ok(())
    }

    /// The node that computes a value of `model`.
    pub(crate) fn node(&self, outlet: OutletId) -> &'a TypedNode {
        self.model.node(outlet.node)
    }

    pub(crate) fn is_constant(&self, outlet: OutletId) -> bool {
        self.constants.contains(outlet)
    }

    /// The value of a constant of `model`.
    pub(crate) fn constant_value(&self, outlet: OutletId) -> TractResult<Arc<Tensor>> {
        self.constants.tensor(outlet)
    }

    /// Adds a constant.
    pub(crate) fn constant(&mut self, tensor: Tensor) -> TractResult<OutletId> {
        self.added += 1;
        self.graph.add_const(format!("gradient.constant{}", self.added), tensor)
    }

    /// Constant: adds a number as a tensor of this rank, with every dimension 1.
    pub(crate) fn number(&mut self, value: f32, rank: usize) -> TractResult<OutletId> {
        self.constant(Tensor::from_shape(&vec![1; rank], &[value])?)
    }

    /// Adds a node with one output.
    pub(crate) fn wire(
        &mut self,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        self.added += 1;
        let outlets = self.graph.wire_node(format!("gradient.{}", self.added), op, inputs)?;
        Ok(outlets[0])
    }
}
