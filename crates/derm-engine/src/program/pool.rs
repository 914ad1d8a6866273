use super::operation::{Operation, Resident, Work};
use super::{BufferId, RunContext};
use crate::RunError;
use derm_kernels::{PoolGeometry, Pooling};

/// Pooling: reduces each window of a feature map to one value.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) pooling: Pooling,
    pub(crate) geometry: PoolGeometry,
    pub(crate) input: BufferId,
}

impl Operation for Pool {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        visit(self.input);
    }

    fn resident(&self, _visit: &mut dyn FnMut(Resident)) {}

    fn work(&self) -> Work {
        "pooling".into()
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let isa = context.isa;
        let (output, input) = context.open_one(self.input);
        derm_kernels::pool(isa, self.pooling, &self.geometry, input, output);
        Ok(())
    }
}

/// Backward data of a pooling: the gradient of its input.
#[derive(Debug)]
pub(crate) struct PoolGradient {
    pub(crate) pooling: Pooling,
    pub(crate) geometry: PoolGeometry,
    /// The pooling's input; for a maximum only.
    pub(crate) values: Option<BufferId>,
    pub(crate) gradients: BufferId,
}

impl Operation for PoolGradient {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        visit(self.gradients);
        self.values.into_iter().for_each(visit);
    }

    fn resident(&self, _visit: &mut dyn FnMut(Resident)) {}

    fn work(&self) -> Work {
        "pooling's gradient".into()
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let (output, _, reads) = context.open();
        let values = self.values.map_or(&[][..], |values| reads.get(values));
        let gradients = reads.get(self.gradients);
        derm_kernels::pool_gradient(self.pooling, &self.geometry, values, gradients, output);
        Ok(())
    }
}
