use super::BufferId;
use super::operation::Resident;
use std::sync::Arc;

/// What an operation reads: a buffer, or numbers that are known.
#[derive(Debug, Clone)]
pub(crate) enum Operand {
    Buffer(BufferId),
    Constant(Arc<[f32]>),
}

impl Operand {
    /// The buffer that it is.
    pub(crate) fn buffer(&self) -> Option<BufferId> {
        match self {
            Operand::Buffer(buffer) => Some(*buffer),
            Operand::Constant(_) => None,
        }
    }

    /// The memory of the numbers that it is.
    pub(crate) fn resident(&self) -> Option<Resident> {
        match self {
            Operand::Buffer(_) => None,
            Operand::Constant(values) => {
                Some(Resident { identity: values.as_ptr().addr(), bytes: size_of_val(&values[..]) })
            }
        }
    }
}
