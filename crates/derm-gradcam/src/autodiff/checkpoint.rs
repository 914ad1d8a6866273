//! Checkpointing: which activations are kept from the forward to the backward pass, and which are
//! recomputed (Chen et al. 2016, arXiv:1604.06174).

use crate::reachability::ancestors;
use derm_model::Constants;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{Cost, DimLike};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::cnn::Conv;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::math;

/// The activations that are kept.
#[derive(Debug)]
pub(crate) enum Checkpoints {
    All,
    AllBut(HashSet<OutletId>),
}

/// A segment of the graph between two points that a single value crosses. Recomputing it needs only
/// the value that enters.
#[derive(Debug, Default)]
struct Segment {
    /// In evaluation order.
    nodes: Vec<usize>,
    /// Bytes of its activations that the backward pass reads.
    read_bytes: usize,
    /// Multiply-adds of recomputing it.
    cost: usize,
    /// Bytes of the value that enters it.
    input_bytes: usize,
}

impl Segment {
    /// Bytes that recomputing it frees. The value that enters is kept for it.
    fn freed_bytes(&self) -> usize {
        self.read_bytes.saturating_sub(self.input_bytes)
    }
}

impl Checkpoints {
    pub(crate) fn has(&self, outlet: OutletId) -> bool {
        match self {
            Checkpoints::All => true,
            Checkpoints::AllBut(recomputed) => !recomputed.contains(&outlet),
        }
    }

    /// Chooses among the activations that rules read, so that those kept take at most `budget` bytes
    /// if possible. Outputs of depthwise convolutions are recomputed first, largest first, since their
    /// inputs are kept anyway; then whole segments, by bytes freed per multiply-add.
    pub(crate) fn within(
        model: &TypedModel,
        constants: &Constants<'_>,
        read: &HashSet<OutletId>,
        budget: usize,
    ) -> TractResult<Checkpoints> {
        let mut kept: usize = read.iter().map(|&outlet| bytes(model, outlet)).sum();
        if kept <= budget {
            return Ok(Checkpoints::All);
        }
        let mut recomputed = HashSet::new();
        let mut depthwise: Vec<OutletId> =
            read.iter().copied().filter(|outlet| is_depthwise(model, *outlet)).collect();
        depthwise.sort_by_key(|&outlet| (Reverse(bytes(model, outlet)), outlet));
        for outlet in depthwise {
            if kept <= budget {
                break;
            }
            kept -= bytes(model, outlet);
            recomputed.insert(outlet);
        }
        let read: HashSet<OutletId> = read.difference(&recomputed).copied().collect();
        let mut segments = segments(model, constants, &read)?;
        segments.retain(|segment| segment.freed_bytes() > 0);
        segments.sort_by(|a, b| {
            let worth = |s: &Segment| s.freed_bytes() as f64 / s.cost.max(1) as f64;
            worth(b).total_cmp(&worth(a))
        });
        for segment in &segments {
            if kept <= budget {
                break;
            }
            kept -= segment.freed_bytes();
            // The last node's value enters the next segment.
            let inner = &segment.nodes[..segment.nodes.len() - 1];
            for &id in inner {
                let outputs = 0..model.node(id).outputs.len();
                recomputed.extend(outputs.map(|slot| OutletId::new(id, slot)));
            }
        }
        Ok(Checkpoints::AllBut(recomputed))
    }
}

/// Whether a node is cheaper to recompute than to keep: a unary function, of which rules read the
/// argument anyway, or a view of the same elements. Not a sum: that is fused into the convolution
/// before it, whose own output is then never in memory.
pub(crate) fn is_cheap(constants: &Constants<'_>, node: &TypedNode) -> bool {
    let is_unary = || node.inputs.iter().filter(|i| !constants.contains(**i)).count() == 1;
    let is_sum = |op: &TypedBinOp| op.0.is::<math::Add>() || op.0.is::<math::Sub>();
    node.op_is::<ElementWiseOp>()
        || node.op_is::<AxisOp>()
        || node.op_is::<Cast>()
        || node.op_as::<TypedBinOp>().is_some_and(|op| !is_sum(op) && is_unary())
}

fn is_depthwise(model: &TypedModel, outlet: OutletId) -> bool {
    let conv = model.node(outlet.node).op_as::<Conv>();
    conv.is_some_and(|conv| conv.group > 1 && conv.group == conv.pool_spec.input_channels)
}

fn bytes(model: &TypedModel, outlet: OutletId) -> usize {
    let shape = model.outlet_fact(outlet).ok().and_then(|fact| fact.shape.as_concrete());
    shape.map_or(0, |shape| 4 * shape.iter().product::<usize>())
}

/// The graph up to its first output, cut wherever only one value is live.
fn segments(
    model: &TypedModel,
    constants: &Constants<'_>,
    read: &HashSet<OutletId>,
) -> TractResult<Vec<Segment>> {
    let needed = ancestors(model, model.output_outlets()?[0]);
    let order: Vec<usize> = model
        .eval_order()?
        .into_iter()
        .filter(|id| needed.contains(id) && !constants.contains(OutletId::new(*id, 0)))
        .collect();
    let positions: HashMap<usize, usize> =
        order.iter().enumerate().map(|(position, &id)| (id, position)).collect();
    let last_use = |id: usize| {
        let successors = model.node(id).outputs.iter().flat_map(|output| &output.successors);
        successors.filter_map(|inlet| positions.get(&inlet.node)).max().copied()
    };
    let mut segments = Vec::new();
    let mut current = Segment::default();
    // Node ids, each with the position of its last reader.
    let mut live: HashMap<usize, usize> = HashMap::new();
    for (position, &id) in order.iter().enumerate() {
        current.nodes.push(id);
        current.cost += multiply_adds(model, id)?;
        let outlets = (0..model.node(id).outputs.len()).map(|slot| OutletId::new(id, slot));
        let read_here = outlets.filter(|outlet| read.contains(outlet));
        current.read_bytes += read_here.map(|outlet| bytes(model, outlet)).sum::<usize>();
        live.retain(|_, last| *last > position);
        if let Some(last) = last_use(id) {
            live.insert(id, last);
        }
        let crosses_alone = live.len() == 1 && live.contains_key(&id);
        // A value that is recomputed itself cannot enter a segment.
        if crosses_alone && !is_cheap(constants, model.node(id)) {
            segments.push(std::mem::take(&mut current));
            current.input_bytes = bytes(model, OutletId::new(id, 0));
        }
    }
    if !current.nodes.is_empty() {
        segments.push(current);
    }
    Ok(segments)
}

/// Multiply-adds of a convolution or matrix product; 0 for other nodes.
fn multiply_adds(model: &TypedModel, id: usize) -> TractResult<usize> {
    let node = model.node(id);
    if !node.op_is::<Conv>() && !node.op_is::<EinSum>() {
        return Ok(0);
    }
    let (inputs, _) = model.node_facts(id)?;
    let costs = node.op.cost(&inputs)?;
    let counts = costs.iter().filter_map(|(cost, count)| {
        matches!(cost, Cost::FMA(_)).then(|| count.to_usize().ok()).flatten()
    });
    Ok(counts.sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::test_weights::no_weights;
    use tract_onnx::tract_core::internal::AxesMapping;

    /// Three matrix products in a row, each `[8, 8]` by `[8, 8]`; the middle one is read twice, so that
    /// two values are live behind it. Returns the products and their sum.
    fn chain() -> (TypedModel, [OutletId; 4]) {
        let mut model = TypedModel::default();
        let mut value = model.add_source("x", f32::fact([8, 8])).unwrap();
        let square = model.add_const("w", Tensor::zero::<f32>(&[8, 8]).unwrap()).unwrap();
        let mut products = Vec::new();
        for name in ["first", "second", "third"] {
            let axes = AxesMapping::from_strs(&["mk", "kn"], &["mn"]).unwrap();
            let product = EinSum::new(axes, DatumType::F32);
            value = model.wire_node(name, product, &[value, square]).unwrap()[0];
            products.push(value);
        }
        let sum = model.wire_node("sum", math::add(), &[products[1], products[2]]).unwrap()[0];
        model.select_output_outlets(&[sum]).unwrap();
        (model, [products[0], products[1], products[2], sum])
    }

    #[test]
    fn segments_end_where_one_value_is_live() {
        let (model, [first, second, third, sum]) = chain();
        let weights = no_weights();
        let constants = Constants::of(&model, &weights).unwrap();
        let read = HashSet::from([first, second, third]);
        let segments = segments(&model, &constants, &read).unwrap();
        let last = |s: &Segment| *s.nodes.last().unwrap();
        let ends: Vec<usize> = segments.iter().map(last).collect();
        assert!(ends.ends_with(&[first.node, second.node, sum.node]), "{segments:?}");
        let rest = segments.last().unwrap();
        assert_eq!((rest.nodes.as_slice(), rest.cost), (&[third.node, sum.node][..], 512));
        assert_eq!((rest.read_bytes, rest.input_bytes), (256, 256));
    }

    #[test]
    fn what_fits_the_budget_is_kept() {
        let (model, [first, second, third, sum]) = chain();
        let weights = no_weights();
        let constants = Constants::of(&model, &weights).unwrap();
        let read = HashSet::from([first, second, third, sum]);
        let within = |budget| Checkpoints::within(&model, &constants, &read, budget).unwrap();
        assert!(matches!(within(4 * 256), Checkpoints::All));
        let less = within(4 * 256 - 1);
        // The last segment frees two values and needs the one that enters it.
        assert!(!less.has(third) && less.has(sum), "{less:?}");
        assert!(less.has(first) && less.has(second), "{less:?}");
    }

    #[test]
    fn unary_functions_and_views_are_cheap_and_sums_are_not() {
        let (mut model, [first, .., sum]) = chain();
        let exp = model.wire_node("exp", math::exp(), &[first]).unwrap()[0];
        let view = model.wire_node("view", AxisOp::Add(0), &[first]).unwrap()[0];
        let scale = model.add_const("scale", tensor2(&[[2f32]])).unwrap();
        let scaled = model.wire_node("scaled", math::mul(), &[first, scale]).unwrap()[0];
        let product = model.wire_node("product", math::mul(), &[first, sum]).unwrap()[0];
        let weights = no_weights();
        let constants = Constants::of(&model, &weights).unwrap();
        for (outlet, expected) in [
            (exp, true),
            (view, true),
            (scaled, true),
            (product, false),
            (sum, false),
            (first, false),
        ] {
            let node = model.node(outlet.node);
            assert_eq!(is_cheap(&constants, node), expected, "{}", node.name);
        }
    }
}
