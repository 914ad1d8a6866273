//! Stored tensors: weights that stay in the model's file until the step that uses them packs them.

use super::strided::{Numbers, Strided};
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::ensure;

/// The bytes of a model's file.
pub trait Bytes: Send + Sync {
    /// All of them.
    fn bytes(&self) -> &[u8];
    /// Says that these will not be read again soon: their pages may go.
    fn release(&self, range: Range<usize>);
}

/// A tensor in a model's file, little-endian.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Float16, float32, or an 8-bit integer.
    pub datum_type: DatumType,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The offset of its first byte in the file.
    pub start: usize,
}

impl Stored {
    /// Its size in bytes; `None` where that overflows.
    pub fn size(&self) -> Option<usize> {
        let elements = self.shape.iter().try_fold(1usize, |all, &axis| all.checked_mul(axis))?;
        elements.checked_mul(self.datum_type.size_of())
    }
}

/// Tensors in a file. In the graph each is an input with the tensor's name.
#[derive(Clone)]
pub struct StoredWeights {
    file: Arc<dyn Bytes>,
    by_name: HashMap<String, (Stored, Range<usize>)>,
}

impl fmt::Debug for StoredWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.by_name).finish()
    }
}

impl StoredWeights {
    /// The tensors of `file`.
    ///
    /// # Errors
    /// If a tensor is not inside the file, or of another type than [`Stored::datum_type`] says.
    pub fn new(
        file: Arc<dyn Bytes>,
        by_name: HashMap<String, Stored>,
    ) -> TractResult<StoredWeights> {
        let mut checked = HashMap::with_capacity(by_name.len());
        for (name, stored) in by_name {
            let end = stored.size().and_then(|size| stored.start.checked_add(size));
            let end = end.filter(|&end| end <= file.bytes().len());
            let types = [DatumType::F16, DatumType::F32, DatumType::I8, DatumType::U8];
            let is_known = types.contains(&stored.datum_type);
            ensure!(end.is_some() && is_known, "weight {name} is malformed");
            let range = stored.start..end.unwrap_or(stored.start);
            checked.insert(name, (stored, range));
        }
        Ok(StoredWeights { file, by_name: checked })
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The tensor that a value of the graph stands for.
    pub(super) fn stored(&self, model: &TypedModel, outlet: OutletId) -> Option<&Stored> {
        self.entry(model, outlet).map(|(stored, _)| stored)
    }

    /// The same, read where it lies in the file.
    pub(super) fn view(&self, model: &TypedModel, outlet: OutletId) -> Option<Strided<'_>> {
        let (stored, range) = self.entry(model, outlet)?;
        let bytes = &self.file.bytes()[range.clone()];
        let numbers = match stored.datum_type {
            DatumType::F16 => Numbers::F16(bytes),
            DatumType::F32 => Numbers::F32(bytes),
            DatumType::I8 => Numbers::I8(bytes.into()),
            DatumType::U8 => Numbers::U8(bytes.into()),
            _ => return None,
        };
        Some(Strided::contiguous(stored.shape.clone(), numbers, range.clone()))
    }

    /// The same as a tensor of its own, in its own type.
    pub(super) fn tensor(
        &self,
        model: &TypedModel,
        outlet: OutletId,
    ) -> Option<TractResult<Tensor>> {
        let (stored, range) = self.entry(model, outlet)?;
        let bytes = &self.file.bytes()[range.clone()];
        // SAFETY: every bit pattern is a value of each type that a stored tensor has, and the range has the size of the shape.
        let tensor = unsafe { Tensor::from_raw_dt(stored.datum_type, &stored.shape, bytes) };
        self.file.release(range.clone());
        Some(tensor)
    }

    /// Lets the pages of a constant go that has been used.
    pub(crate) fn release(&self, used: &Strided<'_>) {
        if !used.range().is_empty() {
            self.file.release(used.range());
        }
    }

    fn entry(&self, model: &TypedModel, outlet: OutletId) -> Option<&(Stored, Range<usize>)> {
        let entry = self.by_name.get(&model.node(outlet.node).name)?;
        model.inputs.contains(&outlet).then_some(entry)
    }
}
