use super::operation::{Operation, Resident, Work};
use super::{BufferId, RunContext};
use crate::RunError;
use derm_kernels::{ConvCall, ConvGeometry, ConvPlan, Isa, OutputPart, PackedConv, Precision};

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
        team.share_rows(n, output, |mut first, mut output| {
            while !output.is_empty() {
                // Some rows of one product of the batch, in most cases all.
                let rows = (m - first % m).min(output.len() / n);
                let (part, rest) = output.split_at_mut(rows * n);
                let (left, right) = (&left[first * k..][..rows * k], &right[first / m * k * n..]);
                self.multiply(isa, left, &right[..k * n], part);
                (first, output) = (first + rows, rest);
            }
        });
        Ok(())
    }
}

impl MatMul {
    /// Columns by which packing can widen the right operand, at most, and the scratch beside it.
    const PADDING: usize = 64;

    /// Multiplies some rows, `[rows, k]`, by a right operand.
    fn multiply(&self, isa: Isa, left: &[f32], right: &[f32], output: &mut [f32]) {
        let [_, k, n] = self.shape();
        let geometry = ConvGeometry::product(output.len() / n, k, n);
        let geometry = geometry.expect("at most as many rows as were checked");
        let weight =
            |o: usize, i: usize, _| right[if self.right_is_kn { i * n + o } else { o * k + i }];
        let packed = PackedConv::new(isa, Precision::F32, &geometry, None, weight);
        let plan = ConvPlan::new(packed, &geometry);
        let scratch = &mut vec![0.0; plan.scratch_len()];
        let output = OutputPart::whole(output);
        plan.run(ConvCall { input: left, output, epilogue: &[], scratch });
    }

    /// `[m, k, n]`.
    fn shape(&self) -> [usize; 3] {
        let geometry = &self.geometry;
        [geometry.columns().output(), geometry.inputs(), geometry.outputs()]
    }
}
