//! From a typed graph to steps: one file a family of operators.

mod conv;
mod einsum;
mod elementwise;
mod foreign;
mod gradient;
mod layout;
mod reduce;

use crate::constant::{StoredWeights, View};
use crate::engine::{Kernels, Settings};
use crate::step::{Action, Buffer, Step};
use crate::value::{Value, plain};
use derm_kernels::{ConvGeometry, Isa, PackedConv, Precision};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
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
    /// What was packed, by the weights' outlet: gradients read the same.
    packed: HashMap<OutletId, Packed>,
    kernels: &'a mut Kernels,
    /// Bytes of what was packed here and not found there.
    pub(crate) packed_bytes: usize,
    /// Values that are not float32, by outlet.
    sides: HashMap<OutletId, usize>,
    /// The name of the node that is being lowered.
    name: String,
}

/// The input of a phase, and its first step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    pub(crate) input: Buffer,
    pub(crate) step: usize,
}

/// Weights that were packed, and how: groups, outputs and inputs, each by where its numbers begin.
#[derive(Debug, Clone)]
struct Packed {
    kernel: PackedConv,
    shape: ConvGeometry,
    offsets: [Vec<usize>; 3],
}

impl<'a> Lowering<'a> {
    pub(crate) fn new(
        model: &'a TypedModel,
        weights: &'a StoredWeights,
        settings: &Settings,
        kernels: &'a mut Kernels,
    ) -> Lowering<'a> {
        Lowering {
            model,
            weights,
            precision: settings.precision,
            isa: settings.isa,
            workers: settings.workers.count(),
            packed: HashMap::new(),
            kernels,
            packed_bytes: 0,
            steps: Vec::new(),
            buffers: Vec::new(),
            values: HashMap::new(),
            sides: HashMap::new(),
            name: String::new(),
        }
    }

    /// Lowers every node that the outputs need. The picture's axes lie in `input_order`. Returns
    /// where each phase begins.
    pub(crate) fn run(&mut self, input_order: &[usize]) -> TractResult<Vec<Start>> {
        let inputs = self.model.input_outlets()?.to_vec();
        let mut others: Vec<OutletId> =
            inputs.into_iter().filter(|&input| !self.is_constant(input)).collect();
        ensure!(!others.is_empty(), "a graph without input");
        let picture = others.remove(0);
        let mut starts = vec![self.start(picture, input_order.to_vec())?];
        for id in self.order()? {
            let outlet = OutletId::new(id, 0);
            if outlet == picture || self.is_constant(outlet) {
                continue;
            }
            if let Some(place) = others.iter().position(|&other| other == outlet) {
                others.remove(place);
                let order = plain(self.shape(outlet)?.len());
                starts.push(self.start(outlet, order)?);
                continue;
            }
            let node = self.model.node(id);
            self.name.clone_from(&node.name);
            self.lower(node).with_context(|| format!("{} ({})", node.name, node.op.name()))?;
        }
        Ok(starts)
    }

    /// An input's buffer; what is lowered from now on belongs to its phase.
    fn start(&mut self, outlet: OutletId, order: Vec<usize>) -> TractResult<Start> {
        let shape = self.shape(outlet)?;
        let input = self.buffer(shape.iter().product());
        self.values.insert(outlet, Value { buffer: input, shape, order, open: None });
        Ok(Start { input, step: self.steps.len() })
    }

    /// The nodes that the outputs need: by their numbers if each comes after what it reads, for
    /// that is how a graph says what is to be computed late.
    fn order(&self) -> TractResult<Vec<usize>> {
        let mut order = self.model.eval_order()?;
        let inputs = |id: usize| self.model.node(id).inputs.iter();
        if order.iter().all(|&id| inputs(id).all(|input| input.node < id)) {
            order.sort_unstable();
        }
        Ok(order)
    }

    fn lower(&mut self, node: &TypedNode) -> TractResult<()> {
        for family in [
            conv::lower,
            einsum::lower,
            elementwise::lower,
            reduce::lower,
            layout::lower,
            gradient::lower,
        ] {
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

    /// Where an output of the graph lies.
    pub(crate) fn output(&mut self, outlet: OutletId) -> TractResult<Value> {
        ensure!(self.is_float(outlet)?, "an output is not float32");
        self.value(outlet)
    }

    /// The weights at `outlet`, of which this is the view, packed by `pack` unless an engine of this model has done it.
    fn kernel(
        &mut self,
        outlet: OutletId,
        view: &View<'_>,
        shape: &ConvGeometry,
        offsets: [Vec<usize>; 3],
        pack: impl FnOnce(Isa, Precision, &[Vec<usize>; 3]) -> PackedConv,
    ) -> PackedConv {
        let precision = self.precision_of(outlet);
        let origin = self.weights.origin(self.model, outlet);
        let name = origin.map(|origin| {
            let mut numbers = DefaultHasher::new();
            offsets.hash(&mut numbers);
            let (inputs, outputs, groups) = (shape.inputs(), shape.outputs(), shape.groups());
            let window = [shape.rows().kernel(), shape.columns().kernel()];
            let numbers = numbers.finish();
            format!("{origin} {precision:?} {inputs} {outputs} {groups} {window:?} {numbers:x}")
        });
        let known = name.as_ref().and_then(|name| self.kernels.0.get(name)).cloned();
        let kernel = match known {
            Some(kernel) => kernel,
            None => {
                let kernel = pack(self.isa, precision, &offsets);
                self.packed_bytes += kernel.bytes();
                self.weights.release(view);
                if let Some(name) = name {
                    self.kernels.0.insert(name, kernel.clone());
                }
                kernel
            }
        };
        let packed = Packed { kernel: kernel.clone(), shape: *shape, offsets };
        self.packed.insert(outlet, packed);
        kernel
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
