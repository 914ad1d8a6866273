use super::operation::{Operation, Resident, Work};
use super::{BufferId, RunContext};
use crate::RunError;
use derm_kernels::{ConvShape, PackedConv, Precision};

/// Matrix product of two computed values: `[batch, m, k] x [batch, k, n] -> [batch, m, n]`.
#[derive(Debug)]
pub(crate) struct MatMul {
    pub(crate) batch: usize,
    /// `[m, k, n]`.
    pub(crate) shape: [usize; 3],
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

    fn work(&self) -> Work {
        let [m, k, n] = self.shape;
        let kind = format!("product of values {m}x{k}x{n}");
        Work { kind, flops: 2 * self.batch * m * k * n }
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let (isa, team) = (context.isa, context.team);
        let (output, _, reads) = context.open();
        let (left, right) = (reads.get(self.left), reads.get(self.right));
        let [m, k, n] = self.shape;
        let shape = ConvShape::product(m, k, n);
        let blocks: Vec<&mut [f32]> = output.chunks_mut(m * n).collect();
        team.share_each(blocks, |number, output| {
            let left = &left[number * m * k..][..m * k];
            let right = &right[number * k * n..][..k * n];
            let weight = |o: usize, i: usize, _| {
                right[if self.right_is_kn { i * n + o } else { o * k + i }]
            };
            let packed = PackedConv::new(isa, Precision::F32, &shape, None, weight);
            let mut scratch = vec![0.0; packed.scratch(&shape)];
            packed.run(&shape, left, output, &[], &mut scratch);
        });
        Ok(())
    }
}
