//! Cumulative sum: the gradient is a cumulative sum the other way round.

use super::Rule;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::array::CumSum;

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    op.is::<CumSum>().then_some(Rule(|ctx| {
        let op = ctx.op::<CumSum>().clone();
        let gradient = ctx.wire(CumSum { reverse: !op.reverse, ..op }, &[ctx.gradient])?;
        Ok(ctx.first(gradient))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::rules::check::{check, values};

    #[test]
    fn cumulative_sums_of_every_kind() {
        for (axis, exclusive, reverse) in
            [(0, false, false), (1, false, true), (1, true, false), (2, true, true)]
        {
            check(&CumSum { axis, exclusive, reverse }, &[values(&[2, 3, 4], 1)], &[true]);
        }
    }
}
