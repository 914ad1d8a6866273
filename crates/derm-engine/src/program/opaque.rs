//! Opaque values: what is no float32 buffer, and only fallback operators write and read.

use tract_onnx::prelude::TValue;

/// The index of an opaque value of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpaqueId(usize);

impl OpaqueId {
    /// The id of the value at this index.
    pub(super) fn new(index: usize) -> OpaqueId {
        OpaqueId(index)
    }
}

/// The opaque values of one run.
#[derive(Debug)]
pub(crate) struct OpaqueValues(Vec<Option<TValue>>);

impl OpaqueValues {
    /// As many as a program has; none is computed yet.
    pub(super) fn new(count: usize) -> OpaqueValues {
        OpaqueValues(vec![None; count])
    }

    /// A value, if it was computed.
    pub(super) fn get(&self, id: OpaqueId) -> Option<&TValue> {
        self.0[id.0].as_ref()
    }

    pub(super) fn set(&mut self, id: OpaqueId, value: TValue) {
        self.0[id.0] = Some(value);
    }
}
