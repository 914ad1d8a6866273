use super::operation::{Operation, Resident, Work};
use super::{BufferId, RunContext};
use crate::RunError;
use derm_kernels::{ConvCall, ConvGeometry, ConvPlan, OutputPart, PackedConv, Precision};

/// Matrix product of two computed values: `[batch, m, k] x [batch, k, n] -> [batch, m, n]`.
#[derive(Debug)]
pub(crate) struct MatMul {
    pub(crate) batch: usize,
    /// `m` rows, `k` inputs, `n` outputs.
    pub(crate) geometry: ConvGeometry,
    pub(crate) left: BufferId,
    pub(crate) right: BufferId,
    /// Whether `right` is `[batch, k, n]`; else it is `[batch, n, k]`.
    pub(crate) right_is_kn: bool,
}

impl Operation for MatMul {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        visit(self.left);
        visit(self.right);
    }

    fn resident(&self, _visit: &mut dyn FnMut(Resident)) {}

    fn temporary(&self, _length: &dyn Fn(BufferId) -> usize, threads: usize) -> usize {
        // Each thread packs its right operand; the plan's scratch is smaller than a block of that.
        let [_, k, n] = self.shape();
        size_of::<f32>() * threads * k * (n + MatMul::PADDING)
    }

    fn work(&self) -> Work {
        let [m, k, n] = self.shape();
        let kind = format!("product of values {m}x{k}x{n}");
        Work::float(kind, self.batch * self.geometry.flops())
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let (isa, team) = (context.isa, context.team);
        let (output, _, reads) = context.open();
        let (left, right) = (reads.get(self.left), reads.get(self.right));
        let [m, k, n] = self.shape();
        let geometry = &self.geometry;
        let blocks: Vec<&mut [f32]> = output.chunks_mut(m * n).collect();
        team.share_each(blocks, |number, output| {
            let left = &left[number * m * k..][..m * k];
            let right = &right[number * k * n..][..k * n];
            let weight =
                |o: usize, i: usize, _| right[if self.right_is_kn { i * n + o } else { o * k + i }];
            let packed = PackedConv::new(isa, Precision::F32, geometry, None, weight);
            let plan = ConvPlan::new(packed, geometry);
            let scratch = &mut vec![0.0; plan.scratch_len()];
            let output = OutputPart::whole(output);
            plan.run(ConvCall { input: left, output, epilogue: &[], scratch });
        });
        Ok(())
    }
}

impl MatMul {
    /// Columns by which packing can widen the right operand, at most, and the scratch beside it.
    const PADDING: usize = 64;

    /// `[m, k, n]`.
    fn shape(&self) -> [usize; 3] {
        let geometry = &self.geometry;
        [geometry.columns().output(), geometry.inputs(), geometry.outputs()]
    }
}
