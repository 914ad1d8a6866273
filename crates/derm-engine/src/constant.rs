//! Weights that stay in the model's file until the step that uses them is packed.

use half::f16;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{AxisOp, TractErrorContext};
use tract_onnx::tract_core::ops::cast::Cast;

use derm_kernels::Precision;

/// The bytes of a model's file.
pub trait Bytes: Send + Sync {
    /// All of them.
    fn bytes(&self) -> &[u8];
    /// These will not be read again soon: their pages may go.
    fn release(&self, range: std::ops::Range<usize>);
}

/// A list of numbers in a model's file, little-endian.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Float16 or float32.
    pub datum_type: DatumType,
    /// Its axes.
    pub shape: Vec<usize>,
    /// Where its first byte lies in the file.
    pub start: usize,
}

impl Stored {
    /// Bytes it takes, if that is a number at all.
    pub fn size(&self) -> Option<usize> {
        let elements = self.shape.iter().try_fold(1usize, |all, &side| all.checked_mul(side))?;
        elements.checked_mul(self.datum_type.size_of())
    }
}

/// Weights in a file. In the graph each is an input with the weight's name.
#[derive(Clone)]
pub struct StoredWeights {
    file: Arc<dyn Bytes>,
    by_name: HashMap<String, Stored>,
}

impl fmt::Debug for StoredWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.by_name).finish()
    }
}

impl StoredWeights {
    /// # Errors
    /// If a weight is not inside the file, or neither float16 nor float32.
    pub fn new(
        file: Arc<dyn Bytes>,
        by_name: HashMap<String, Stored>,
    ) -> TractResult<StoredWeights> {
        for (name, stored) in &by_name {
            let end = stored.size().and_then(|size| stored.start.checked_add(size));
            let fits = end.is_some_and(|end| end <= file.bytes().len());
            let float = [DatumType::F16, DatumType::F32].contains(&stored.datum_type);
            tract_onnx::tract_core::internal::ensure!(fits && float, "weight {name} is malformed");
        }
        Ok(StoredWeights { file, by_name })
    }

    /// Whether there is a weight of this name.
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    fn of<'a>(&'a self, model: &TypedModel, outlet: OutletId) -> Option<&'a Stored> {
        if !model.inputs.contains(&outlet) {
            return None;
        }
        self.by_name.get(&model.node(outlet.node).name)
    }

    /// Whether the value does not depend on the picture.
    pub fn is_constant(&self, model: &TypedModel, outlet: OutletId) -> bool {
        if model.nodes[outlet.node].outputs[outlet.slot].fact.konst.is_some() {
            return true;
        }
        if self.of(model, outlet).is_some() {
            return true;
        }
        let node = model.node(outlet.node);
        !node.inputs.is_empty()
            && !node.op_is::<tract_onnx::tract_core::ops::source::TypedSource>()
            && node.inputs.iter().all(|&input| self.is_constant(model, input))
    }

    /// A constant as a tensor of its own.
    ///
    /// # Errors
    /// If it is none.
    pub fn tensor(&self, model: &TypedModel, outlet: OutletId) -> TractResult<Arc<Tensor>> {
        if let Some(constant) = &model.outlet_fact(outlet)?.konst {
            return Ok(Arc::clone(constant));
        }
        let node = model.node(outlet.node);
        if let Some(stored) = self.of(model, outlet) {
            let size = stored.size().context("its size was checked")?;
            let bytes = &self.file.bytes()[stored.start..stored.start + size];
            // SAFETY: every bit pattern is a float16 or float32, and the length was checked.
            let tensor = unsafe { Tensor::from_raw_dt(stored.datum_type, &stored.shape, bytes)? };
            let wanted = model.outlet_fact(outlet)?.datum_type;
            let tensor = tensor.cast_to_dt(wanted)?.into_owned().into_arc_tensor();
            self.file.release(stored.start..stored.start + size);
            return Ok(tensor);
        }
        let inputs = node
            .inputs
            .iter()
            .map(|&input| Ok(self.tensor(model, input)?.into_tvalue()))
            .collect::<TractResult<TVec<TValue>>>()?;
        let outputs = node.op.eval_out_of_plan(inputs)?;
        let output = outputs.and_then(|outputs| outputs.into_iter().nth(outlet.slot));
        Ok(output.with_context(|| format!("{} is not constant", node.name))?.into_arc_tensor())
    }

    /// How a constant's numbers came: half precision if any of them did.
    pub fn precision(&self, model: &TypedModel, outlet: OutletId) -> Precision {
        let half = match self.of(model, outlet) {
            Some(stored) => stored.datum_type == DatumType::F16,
            None => {
                let mut inputs = model.node(outlet.node).inputs.iter();
                inputs.any(|&input| self.precision(model, input) == Precision::F16)
            }
        };
        if half { Precision::F16 } else { Precision::F32 }
    }

    /// What a weight is made of, where that is one list of the file with its axes changed at most:
    /// the same for the same numbers in every graph of the model.
    pub(crate) fn origin(&self, model: &TypedModel, outlet: OutletId) -> Option<String> {
        let node = model.node(outlet.node);
        if self.of(model, outlet).is_some() {
            return Some(node.name.clone());
        }
        let only_renamed = node.op_is::<AxisOp>() || node.op_is::<Cast>();
        let [input] = node.inputs[..] else { return None };
        let origin = only_renamed.then(|| self.origin(model, input))??;
        Some(format!("{origin} {:?}", node.op))
    }

    /// A constant's numbers, read where they lie in the file if nothing but its axes was changed.
    ///
    /// # Errors
    /// As [`StoredWeights::tensor`].
    pub(crate) fn view(&self, model: &TypedModel, outlet: OutletId) -> TractResult<View<'_>> {
        if let Some(view) = self.stored_view(model, outlet)? {
            return Ok(view);
        }
        let tensor = self.tensor(model, outlet)?.cast_to_dt(DatumType::F32)?.into_owned();
        let shape = tensor.shape().to_vec();
        let values = tensor.to_plain_array_view::<f32>()?.iter().copied().collect();
        let strides = contiguous(&shape);
        Ok(View { shape, strides, numbers: Numbers::Values(values), range: 0..0 })
    }

    fn stored_view(&self, model: &TypedModel, outlet: OutletId) -> TractResult<Option<View<'_>>> {
        if let Some(stored) = self.of(model, outlet) {
            let size = stored.size().context("its size was checked")?;
            let range = stored.start..stored.start + size;
            let bytes = &self.file.bytes()[range.clone()];
            let numbers = match stored.datum_type {
                DatumType::F16 => Numbers::F16(bytes),
                _ => Numbers::F32(bytes),
            };
            let (shape, strides) = (stored.shape.clone(), contiguous(&stored.shape));
            return Ok(Some(View { shape, strides, numbers, range }));
        }
        let node = model.node(outlet.node);
        if node.op_as::<Cast>().is_some_and(|cast| cast.to == DatumType::F32) {
            return self.stored_view(model, node.inputs[0]);
        }
        let Some(axis_op) = node.op_as::<AxisOp>() else { return Ok(None) };
        let Some(view) = self.stored_view(model, node.inputs[0])? else { return Ok(None) };
        Ok(view.changed(axis_op, model.outlet_fact(outlet)?))
    }

    /// The pages of a constant that has been used may go.
    pub(crate) fn release(&self, used: &View<'_>) {
        if !used.range.is_empty() {
            self.file.release(used.range.clone());
        }
    }
}

/// Numbers with axes.
pub(crate) struct View<'a> {
    pub(crate) shape: Vec<usize>,
    strides: Vec<usize>,
    numbers: Numbers<'a>,
    /// Where in the file, if there.
    range: std::ops::Range<usize>,
}

enum Numbers<'a> {
    F16(&'a [u8]),
    F32(&'a [u8]),
    Values(Vec<f32>),
}

impl View<'_> {
    /// The number at a sum of [`View::offsets`].
    pub(crate) fn at(&self, place: usize) -> f32 {
        match &self.numbers {
            Numbers::F16(bytes) => {
                f16::from_le_bytes([bytes[2 * place], bytes[2 * place + 1]]).to_f32()
            }
            Numbers::F32(bytes) => {
                let at = 4 * place;
                f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
            }
            Numbers::Values(values) => values[place],
        }
    }

    /// How far each place along `axes` (the last one fastest) lies from the first.
    pub(crate) fn offsets(&self, axes: &[usize]) -> Vec<usize> {
        let mut offsets = vec![0];
        for &axis in axes {
            offsets = offsets
                .iter()
                .flat_map(|offset| {
                    (0..self.shape[axis]).map(move |place| offset + place * self.strides[axis])
                })
                .collect();
        }
        offsets
    }

    fn is_contiguous(&self) -> bool {
        let strides = contiguous(&self.shape);
        (0..self.shape.len())
            .all(|axis| self.shape[axis] == 1 || self.strides[axis] == strides[axis])
    }

    /// With its axes changed; none where the numbers would have to move.
    fn changed(mut self, op: &AxisOp, fact: &TypedFact) -> Option<Self> {
        match op {
            AxisOp::Add(axis) => {
                self.shape.insert(*axis, 1);
                self.strides.insert(*axis, 0);
            }
            AxisOp::Rm(axis) => {
                self.shape.remove(*axis);
                self.strides.remove(*axis);
            }
            AxisOp::Move(from, to) => {
                let (side, stride) = (self.shape.remove(*from), self.strides.remove(*from));
                self.shape.insert(*to, side);
                self.strides.insert(*to, stride);
            }
            AxisOp::Reshape(..) if self.is_contiguous() => {
                self.shape = fact.shape.as_concrete()?.to_vec();
                self.strides = contiguous(&self.shape);
            }
            AxisOp::Reshape(..) => return None,
        }
        Some(self)
    }
}

fn contiguous(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect()
}
