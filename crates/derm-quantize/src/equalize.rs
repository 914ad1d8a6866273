//! Cross-layer equalisation (Nagel et al. 2019, arXiv:1906.04721): a channel between two convolutions is
//! divided by a number in the first and multiplied by it in the second, so that both have weights of
//! one size. The network's answers stay, because what lies between them commutes with positive factors.

use crate::Error;
use crate::graph::{View, float_tensor};
use crate::product::Product;
use derm_onnx::floats;
use derm_onnx::message::GraphProto;

/// Rounds over all pairs, at most; a chain of convolutions needs several.
const ROUNDS: usize = 20;
/// Rounds end when no factor is further from 1.
const CLOSE: f32 = 0.01;
/// Factors lie in `1 / LARGEST ..= LARGEST`.
const LARGEST: f32 = 64.0;

/// Two products, by the numbers of their nodes, and what lies between them.
struct Pair {
    first: usize,
    second: usize,
}

/// Equalises all pairs; returns how many there are.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn equalize(graph: &mut GraphProto) -> Result<usize, Error> {
    let pairs = pairs(&View::of(graph));
    for _ in 0..ROUNDS {
        let mut furthest = 0f32;
        for pair in &pairs {
            furthest = furthest.max(equalize_pair(graph, pair)?);
        }
        if furthest <= CLOSE {
            break;
        }
    }
    Ok(pairs.len())
}

/// The pairs whose second product alone reads what the first computes, through operators that commute
/// with a positive factor of each channel.
fn pairs(view: &View<'_>) -> Vec<Pair> {
    let found = view.graph.node.iter().enumerate().filter_map(|(first, node)| {
        let product = Product::of(view, node)?;
        if !is_own(view, &product) {
            return None;
        }
        let mut name = node.output.first()?;
        loop {
            let (reader, slot) = view.sole_reader(name)?;
            let node = view.node(reader);
            let commutes = matches!(
                node.op_type.as_str(),
                "Relu" | "MaxPool" | "AveragePool" | "GlobalAveragePool" | "Identity"
            );
            if commutes && node.output.len() == 1 {
                name = &node.output[0];
                continue;
            }
            let second = Product::of(view, node)?;
            let is_pair = slot == 0
                && is_own(view, &second)
                && second.is_convolution()
                && second.inputs() == product.outputs;
            return is_pair.then_some(Pair { first, second: reader });
        }
    });
    found.collect()
}

/// Whether no other node reads a product's weights or bias.
fn is_own(view: &View<'_>, product: &Product<'_>) -> bool {
    let constants = [Some(product.weights), product.bias];
    product.is_convolution()
        && constants.into_iter().flatten().all(|tensor| view.is_private(&tensor.name))
}

/// Equalises one pair; returns how far its furthest factor is from 1.
fn equalize_pair(graph: &mut GraphProto, pair: &Pair) -> Result<f32, Error> {
    let view = View::of(graph);
    let product = |index: usize| Product::of(&view, view.node(index));
    let (Some(first), Some(second)) = (product(pair.first), product(pair.second)) else {
        return Ok(0.0);
    };
    let (mut left, mut right) = (floats(first.weights)?, floats(second.weights)?);
    let mut bias = first.bias.map(floats).transpose()?;
    let largest = |values: &[f32], channels: &mut dyn Iterator<Item = usize>| {
        let mut largest = vec![0f32; first.outputs];
        for (value, channel) in values.iter().zip(channels) {
            largest[channel] = largest[channel].max(value.abs());
        }
        largest
    };
    let of_first = largest(&left, &mut first.channels().map(|(output, _)| output));
    let of_second = largest(&right, &mut second.channels().map(|(_, input)| input));
    let factor = |(first, second): (&f32, &f32)| {
        let factor = (first / second).sqrt();
        let is_usable = factor.is_finite() && factor > 0.0;
        if is_usable { factor.clamp(1.0 / LARGEST, LARGEST) } else { 1.0 }
    };
    let factors: Vec<f32> = of_first.iter().zip(&of_second).map(factor).collect();
    left.iter_mut().zip(first.channels()).for_each(|(w, (output, _))| *w /= factors[output]);
    right.iter_mut().zip(second.channels()).for_each(|(w, (_, input))| *w *= factors[input]);
    if let Some(bias) = &mut bias {
        bias.iter_mut().zip(&factors).for_each(|(bias, factor)| *bias /= factor);
    }
    let mut changed = vec![
        float_tensor(&first.weights.name, &first.weights.dims, &left),
        float_tensor(&second.weights.name, &second.weights.dims, &right),
    ];
    if let (Some(tensor), Some(bias)) = (first.bias, bias) {
        changed.push(float_tensor(&tensor.name, &tensor.dims, &bias));
    }
    for tensor in changed {
        let place = graph.initializer.iter_mut().find(|one| one.name == tensor.name);
        place.into_iter().for_each(|place| place.raw_data.clone_from(&tensor.raw_data));
    }
    Ok(factors.iter().map(|factor| (factor - 1.0).abs()).fold(0.0, f32::max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::test_node as node;

    fn network(between: &str) -> GraphProto {
        GraphProto {
            node: vec![
                node("Conv", &["x", "first", "bias"], "a"),
                node(between, &["a"], "b"),
                node("Conv", &["b", "second"], "y"),
            ],
            initializer: vec![
                float_tensor("first", &[2, 2, 1, 1], &[8.0, -2.0, 0.1, 0.05]),
                float_tensor("bias", &[2], &[1.0, 0.3]),
                float_tensor("second", &[2, 2, 1, 1], &[0.02, 3.0, -0.01, 1.0]),
            ],
            ..GraphProto::default()
        }
    }

    fn values(graph: &GraphProto) -> [Vec<f32>; 3] {
        [0, 1, 2].map(|number| floats(&graph.initializer[number]).unwrap_or_default())
    }

    #[test]
    fn both_sides_of_a_channel_get_one_size_and_their_product_stays() {
        let mut graph = network("Relu");
        let [first, bias, second] = values(&graph);
        assert!(equalize(&mut graph).is_ok_and(|pairs| pairs == 1));
        let [new_first, new_bias, new_second] = values(&graph);
        for channel in 0..2 {
            let factor = first[2 * channel] / new_first[2 * channel];
            assert!((bias[channel] / new_bias[channel] / factor - 1.0).abs() < 1e-5);
            for output in 0..2 {
                let index = 2 * output + channel;
                assert!((new_second[index] / second[index] / factor - 1.0).abs() < 1e-5);
            }
            let size = |a: f32, b: f32| a.abs().max(b.abs());
            let left = size(new_first[2 * channel], new_first[2 * channel + 1]);
            let right = size(new_second[channel], new_second[2 + channel]);
            assert!((left / right - 1.0).abs() < 0.02, "{left} {right}");
        }
    }

    #[test]
    fn functions_that_do_not_commute_with_factors_are_left_alone() {
        let mut graph = network("Sigmoid");
        let before = graph.clone();
        assert!(equalize(&mut graph).is_ok_and(|pairs| pairs == 0));
        assert_eq!(graph, before);
    }
}
