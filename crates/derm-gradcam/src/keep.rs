//! Which values are kept from the forward to the backward pass, and which are computed again.

use crate::tape::is_cheap;
use crate::target::ancestors;
use derm_model::StoredWeights;
use std::collections::{HashMap, HashSet};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{Cost, DimLike};
use tract_onnx::tract_core::ops::cnn::Conv;
use tract_onnx::tract_core::ops::einsum::EinSum;

/// The values that are kept.
pub(crate) enum Keep {
    All,
    Not(HashSet<OutletId>),
}

/// Nodes from one place that a single value crosses to the next one. Computing them again needs
/// that value only.
#[derive(Debug, Default)]
struct Stretch {
    nodes: Vec<usize>,
    /// Bytes of its values that the backward pass reads.
    bytes: usize,
    /// Multiplications that computing it again costs.
    work: usize,
    /// Bytes of the value that enters it.
    entry: usize,
}

impl Keep {
    pub(crate) fn all() -> Keep {
        Keep::All
    }

    pub(crate) fn is_all(&self) -> bool {
        matches!(self, Keep::All)
    }

    pub(crate) fn has(&self, outlet: OutletId) -> bool {
        match self {
            Keep::All => true,
            Keep::Not(lost) => !lost.contains(&outlet),
        }
    }

    /// Of the values in `read`, as many as fit `allowance` bytes: those are computed again that
    /// free the most memory for the least work. Depthwise convolutions by themselves, since what
    /// they read is kept anyway; then whole stretches.
    pub(crate) fn within(
        model: &TypedModel,
        weights: &StoredWeights,
        read: &HashSet<OutletId>,
        allowance: usize,
    ) -> TractResult<Keep> {
        let total: usize = read.iter().map(|&outlet| bytes(model, outlet)).sum();
        if total <= allowance {
            return Ok(Keep::All);
        }
        let mut kept = total;
        let mut lost = HashSet::new();
        let mut depthwise: Vec<OutletId> =
            read.iter().copied().filter(|outlet| is_depthwise(model, *outlet)).collect();
        depthwise.sort_by_key(|&outlet| (std::cmp::Reverse(bytes(model, outlet)), outlet));
        for outlet in depthwise {
            if kept <= allowance {
                break;
            }
            kept -= bytes(model, outlet);
            lost.insert(outlet);
        }
        let read: HashSet<OutletId> = read.difference(&lost).copied().collect();
        let mut stretches = stretches(model, weights, &read)?;
        // What is kept although the stretch is computed again: the value that enters it.
        let freed = |stretch: &Stretch| stretch.bytes.saturating_sub(stretch.entry);
        stretches.retain(|stretch| freed(stretch) > 0);
        stretches.sort_by(|a, b| {
            let worth = |stretch: &Stretch| freed(stretch) as f64 / stretch.work.max(1) as f64;
            worth(b).total_cmp(&worth(a))
        });
        for stretch in &stretches {
            if kept <= allowance {
                break;
            }
            kept -= freed(stretch);
            // The last node's value is what crosses to the next stretch.
            let inner = &stretch.nodes[..stretch.nodes.len() - 1];
            for &id in inner {
                let outputs = 0..model.node(id).outputs.len();
                lost.extend(outputs.map(|slot| OutletId::new(id, slot)));
            }
        }
        Ok(Keep::Not(lost))
    }
}

fn is_depthwise(model: &TypedModel, outlet: OutletId) -> bool {
    let conv = model.node(outlet.node).op_as::<Conv>();
    conv.is_some_and(|conv| conv.group > 1 && conv.group == conv.pool_spec.input_channels)
}

fn bytes(model: &TypedModel, outlet: OutletId) -> usize {
    let shape = model.outlet_fact(outlet).ok().and_then(|fact| fact.shape.as_concrete());
    shape.map_or(0, |shape| 4 * shape.iter().product::<usize>())
}

/// The graph up to its first output, cut wherever one value alone is alive.
fn stretches(
    model: &TypedModel,
    weights: &StoredWeights,
    read: &HashSet<OutletId>,
) -> TractResult<Vec<Stretch>> {
    let needed = ancestors(model, model.output_outlets()?[0]);
    let order: Vec<usize> = model
        .eval_order()?
        .into_iter()
        .filter(|id| needed.contains(id) && !weights.is_constant(model, OutletId::new(*id, 0)))
        .collect();
    let places: HashMap<usize, usize> = order.iter().enumerate().map(|(p, &id)| (id, p)).collect();
    let last_use = |id: usize| {
        let successors = model.node(id).outputs.iter().flat_map(|output| &output.successors);
        successors.filter_map(|inlet| places.get(&inlet.node)).max().copied()
    };
    let mut stretches = Vec::new();
    let mut current = Stretch::default();
    let mut alive: HashMap<usize, usize> = HashMap::new();
    for (place, &id) in order.iter().enumerate() {
        current.nodes.push(id);
        current.work += work(model, id)?;
        let is_read = |outlet: &OutletId| read.contains(outlet);
        let outlets = (0..model.node(id).outputs.len()).map(|slot| OutletId::new(id, slot));
        current.bytes += outlets.filter(is_read).map(|o| bytes(model, o)).sum::<usize>();
        alive.retain(|_, last| *last > place);
        if let Some(last) = last_use(id) {
            alive.insert(id, last);
        }
        let alone = alive.len() == 1 && alive.contains_key(&id);
        // A value that would be computed again itself is no place to begin from.
        if alone && !is_cheap(model, weights, model.node(id)) {
            let entry = bytes(model, OutletId::new(id, 0));
            stretches.push(std::mem::take(&mut current));
            current.entry = entry;
        }
    }
    if !current.nodes.is_empty() {
        stretches.push(current);
    }
    Ok(stretches)
}

/// Multiplications of a node, roughly: those of convolutions and products.
fn work(model: &TypedModel, id: usize) -> TractResult<usize> {
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
