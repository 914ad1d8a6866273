//! Local response normalisation (LRN) over neighbouring channels, `y = x s^-beta` with
//! `s = bias + alpha / size * sum(x^2)` (Krizhevsky et al. 2012).

use super::{Gradients, Rule, RuleContext};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::AxesMapping;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::math;
use tract_onnx_opl::lrn::Lrn;

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    op.is::<Lrn>().then_some(Rule(gradient))
}

/// With M the 0-1 matrix of neighbouring channels, s = bias + c M x^2 with c = alpha / size:
/// dx = g s^-beta - 2 beta c x M' (g x s^(-beta - 1)).
fn gradient(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let Lrn { alpha, beta, bias, size } = ctx.op::<Lrn>().clone();
    let shape = ctx.operand_shape(0)?;
    let (channels, rank) = (shape[1], shape.len());
    let c = alpha / size as f32;
    // neighbours[i][j]: channel j counts in the sum of channel i.
    let neighbours = ndarray::Array2::from_shape_fn((channels, channels), |(i, j)| {
        let (first, last) = (i.saturating_sub((size - 1) / 2), i + size / 2);
        f32::from((first..=last).contains(&j))
    });
    let neighbours = ctx.builder.constant(Tensor::from(neighbours))?;
    let letters: String = ('p'..).take(rank - 2).collect();
    let product = |from: char, to: char| {
        let (from, to) = (format!("n{from}{letters}"), format!("n{to}{letters}"));
        let axes = AxesMapping::from_strs(&[from.as_str(), "ij"], &[to.as_str()])?;
        TractResult::Ok(EinSum::new(axes, DatumType::F32))
    };
    let x = ctx.operand(0)?;
    let squares = ctx.wire(math::square(), &[x])?;
    let sums = ctx.wire(product('j', 'i')?, &[squares, neighbours])?;
    let (c_outlet, bias) = (ctx.number(c, rank)?, ctx.number(bias, rank)?);
    let scaled = ctx.wire(math::mul(), &[sums, c_outlet])?;
    let s = ctx.wire(math::add(), &[scaled, bias])?;
    let power = ctx.wire(math::pow_const(-beta), &[s])?;
    let own = ctx.wire(math::mul(), &[ctx.gradient, power])?;
    let weighted = ctx.wire(math::mul(), &[own, x])?;
    let weighted = ctx.wire(math::div(), &[weighted, s])?;
    let others = ctx.wire(product('i', 'j')?, &[weighted, neighbours])?;
    let factor = ctx.number(2.0 * beta * c, rank)?;
    let others = ctx.wire(math::mul(), &[others, factor])?;
    let others = ctx.wire(math::mul(), &[others, x])?;
    let gradient = ctx.wire(math::sub(), &[own, others])?;
    Ok(ctx.first(gradient))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::rules::check::{check, values};

    #[test]
    fn over_odd_and_even_neighbourhoods() {
        for size in [1, 2, 3, 5] {
            let op = Lrn { alpha: 0.7, beta: 0.75, bias: 1.3, size };
            check(&op, &[values(&[1, 6, 2, 3], 1)], &[true]);
        }
    }
}
