//! From a typed graph to steps: one file a family of operators.

mod conv;
mod einsum;
mod elementwise;
mod foreign;
mod layout;
mod reduce;

use crate::constant::{StoredWeights, View};
use crate::step::{Action, Buffer, Step};
use crate::value::{Value, plain};
use derm_kernels::{Isa, Precision};
use std::collections::HashMap;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{TractErrorContext, ensure, format_err};
use tract_onnx::tract_core::ops::TypedOp;

/// A graph on its way to steps.
pub(crate) struct Lowering<'a> {
    pub(crate) model: &'a TypedModel,
    pub(crate) weights: &'a StoredWeights,
    pub(crate) precision: Option<Precision>,
    pub(crate) isa: Isa,
    pub(crate) workers: usize,
    pub(crate) steps: Vec<Step>,
    /// Length of each buffer.
    pub(crate) buffers: Vec<usize>,
    values: HashMap<OutletId, Value>,
    /// Values that are not float32, by outlet.
    sides: HashMap<OutletId, usize>,
    /// The name of the node that is being lowered.
    name: String,
}

impl<'a> Lowering<'a> {
    pub(crate) fn new(
        model: &'a TypedModel,
        weights: &'a StoredWeights,
        precision: Option<Precision>,
        isa: Isa,
        workers: usize,
    ) -> Lowering<'a> {
        Lowering {
            model,
            weights,
            precision,
            isa,
            workers,
            steps: Vec::new(),
            buffers: Vec::new(),
            values: HashMap::new(),
            sides: HashMap::new(),
            name: String::new(),
        }
    }

    /// Lowers every node that the outputs need. The input's axes lie in `input_order`.
    /// Returns the input's buffer.
    pub(crate) fn run(&mut self, input_order: &[usize]) -> TractResult<Buffer> {
        let source = *self.model.input_outlets()?.first().context("a graph without input")?;
        let shape = self.shape(source)?;
        let length = shape.iter().product();
        let input = self.buffer(length);
        let value = Value { buffer: input, shape, order: input_order.to_vec(), open: None };
        self.values.insert(source, value);
        for id in self.model.eval_order()? {
            let outlet = OutletId::new(id, 0);
            if outlet == source || self.weights.is_constant(self.model, outlet) {
                continue;
            }
            let node = self.model.node(id);
            self.name.clone_from(&node.name);
            self.lower(node).with_context(|| format!("{} ({})", node.name, node.op.name()))?;
        }
        Ok(input)
    }

    fn lower(&mut self, node: &TypedNode) -> TractResult<()> {
        for family in [conv::lower, einsum::lower, elementwise::lower, reduce::lower, layout::lower]
        {
            if family(self, node)? {
                return Ok(());
            }
        }
        foreign::lower(self, node)
    }

    /// How many side values there are.
    pub(crate) fn sides(&self) -> usize {
        self.sides.len()
    }

    pub(crate) fn buffer(&mut self, length: usize) -> Buffer {
        self.buffers.push(length);
        self.buffers.len() - 1
    }

    fn shape(&self, outlet: OutletId) -> TractResult<Vec<usize>> {
        let fact = self.model.outlet_fact(outlet)?;
        let shape = fact.shape.as_concrete();
        Ok(shape.with_context(|| format!("a size is not fixed: {fact:?}"))?.to_vec())
    }

    fn is_float(&self, outlet: OutletId) -> TractResult<bool> {
        Ok(self.model.outlet_fact(outlet)?.datum_type == DatumType::F32)
    }

    fn is_constant(&self, outlet: OutletId) -> bool {
        self.weights.is_constant(self.model, outlet)
    }

    fn constant(&self, outlet: OutletId) -> TractResult<View<'a>> {
        self.weights.view(self.model, outlet)
    }

    /// The precision that this constant's numbers are kept in.
    fn precision_of(&self, outlet: OutletId) -> Precision {
        self.precision.unwrap_or_else(|| self.weights.precision(self.model, outlet))
    }

    /// The value of an outlet; a constant gets a buffer that is filled in every run.
    pub(crate) fn value(&mut self, outlet: OutletId) -> TractResult<Value> {
        if let Some(value) = self.values.get(&outlet) {
            return Ok(value.clone());
        }
        ensure!(self.is_constant(outlet), "{outlet:?} is not lowered");
        let view = self.constant(outlet)?;
        let shape = view.shape.clone();
        let order = plain(shape.len());
        let values: Vec<f32> =
            view.offsets(&order).into_iter().map(|place| view.at(place)).collect();
        let length = values.len();
        let output = self.buffer(length);
        let input = crate::step::Operand::Constant(values.into());
        let whole = (0, [0, 0]);
        self.push(Action::Copy { input, sides: [1, 1, length], from: whole, to: whole }, output);
        Ok(Value { buffer: output, shape, order, open: None })
    }

    /// Whether one node alone reads the outlet.
    fn is_read_once(&self, outlet: OutletId) -> bool {
        self.model.outlet_successors(outlet).len() == 1 && !self.model.outputs.contains(&outlet)
    }

    fn push(&mut self, action: Action, output: Buffer) -> usize {
        self.steps.push(Step { name: self.name.clone(), action, output });
        self.steps.len() - 1
    }

    /// A step with a new output buffer.
    fn push_new(&mut self, action: Action, length: usize) -> (usize, Buffer) {
        let output = self.buffer(length);
        (self.push(action, output), output)
    }

    /// Says that `outlet` lies in `buffer` in this order. `open`: the step that may do more to it.
    fn set(
        &mut self,
        outlet: OutletId,
        buffer: Buffer,
        order: Vec<usize>,
        open: Option<usize>,
    ) -> TractResult<()> {
        let shape = self.shape(outlet)?;
        debug_assert_eq!(shape.len(), order.len());
        let open = open.filter(|_| self.is_read_once(outlet));
        self.values.insert(outlet, Value { buffer, shape, order, open });
        Ok(())
    }

    /// The same value with its axes in this order.
    fn in_order(&mut self, value: Value, order: Vec<usize>) -> Value {
        let wanted = Value { order, ..value.clone() };
        if wanted.significant() == value.significant() {
            return wanted;
        }
        let steps: Vec<usize> = wanted
            .order
            .iter()
            .map(|axis| value.order.iter().position(|a| a == axis).expect("the same axes"))
            .collect();
        let action =
            Action::Transpose { shape: value.physical(), order: steps, input: value.buffer };
        let (_, buffer) = self.push_new(action, value.len());
        Value { buffer, open: None, ..wanted }
    }

    /// The same value with these axes at the end, in this order.
    fn with_last(&mut self, value: Value, axes: &[usize]) -> Value {
        let others = value.order.iter().copied().filter(|axis| !axes.contains(axis));
        let order = others.chain(axes.iter().copied()).collect();
        self.in_order(value, order)
    }

    fn in_plain_order(&mut self, value: Value) -> Value {
        let order = plain(value.shape.len());
        self.in_order(value, order)
    }

    /// An output in the graph's own order of axes.
    pub(crate) fn output(&mut self, outlet: OutletId) -> TractResult<Value> {
        ensure!(self.is_float(outlet)?, "an output is not float32");
        let value = self.value(outlet)?;
        Ok(self.in_plain_order(value))
    }

    /// After which steps each buffer holds what it is meant to.
    fn written_by(&self, buffer: Buffer) -> Option<usize> {
        self.steps.iter().rposition(|step| step.output == buffer)
    }
}

/// An operator of this type.
fn op<T: TypedOp>(node: &TypedNode) -> TractResult<&T> {
    node.op_as::<T>().ok_or_else(|| format_err!("not the operator it was taken for"))
}
