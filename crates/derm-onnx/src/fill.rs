//! Seeded random weights for graphs that are stored without weights (`models/zoo`).
//!
//! Values are uniform, with a variance that keeps activations in range: `2 / fan_in` for
//! convolutions and products (He et al. 2015, arXiv:1502.01852), an eighth of that for a
//! convolution that ends a residual branch, so that the sum over dozens of branches stays small.
//! Each tensor has its own random stream, seeded by its name, and only float32 sums and products are
//! used, so that a file is the same on every machine.

use crate::Error;
use crate::messages::{GraphProto, ModelProto, TensorProto};
use crate::tensor::{FLOAT, data_bytes, volume};
use std::collections::HashMap;

/// Fills every float32 initialiser that has a shape and no data.
///
/// # Errors
/// [`Error::NothingToFill`], [`Error::WrongLength`] for a negative or overflowing shape.
pub fn fill(model: &mut ModelProto, seed: u64) -> Result<(), Error> {
    let graph = model.graph.as_mut().ok_or(Error::NothingToFill)?;
    let mut initializers = std::mem::take(&mut graph.initializer);
    let readers = readers(graph);
    let mut filled = 0;
    for tensor in &mut initializers {
        let elements = volume(tensor).ok_or_else(|| Error::WrongLength(tensor.name.clone()))?;
        if tensor.data_type != FLOAT || data_bytes(tensor) > 0 || elements == 0 {
            continue;
        }
        let range = readers.get(tensor.name.as_str()).map_or(Range::AROUND_ZERO, |role| {
            let next = readers.get(role.output.as_str());
            role.range(tensor, next.is_some_and(|next| next.op_type == "Add"))
        });
        let mut random = SplitMix64::seeded(&tensor.name, seed);
        tensor.raw_data = (0..elements)
            .flat_map(|_| (range.centre + range.reach * random.signed_unit()).to_le_bytes())
            .collect();
        filled += 1;
    }
    graph.initializer = initializers;
    if filled == 0 { Err(Error::NothingToFill) } else { Ok(()) }
}

/// Values lie in `centre - reach .. centre + reach`.
struct Range {
    centre: f32,
    reach: f32,
}

impl Range {
    /// Biases, means, position embeddings.
    const AROUND_ZERO: Range = Range { centre: 0.0, reach: 0.1 };
    /// Scales and variances.
    const AROUND_ONE: Range = Range { centre: 1.0, reach: 0.2 };

    /// Uniform values of variance `gain / fan_in`.
    fn for_fan_in(fan_in: usize, gain: f32) -> Range {
        Range { centre: 0.0, reach: (3.0 * gain / fan_in.max(1) as f32).sqrt() }
    }
}

/// The first operator that reads a tensor, and as which input.
struct Role {
    op_type: String,
    input: usize,
    transposed: bool,
    output: String,
}

impl Role {
    fn range(&self, tensor: &TensorProto, ends_branch: bool) -> Range {
        let dim = |axis: usize| tensor.dims.get(axis).map_or(1, |&dim| dim.max(1) as usize);
        match (self.op_type.as_str(), self.input) {
            ("Conv", 1) => {
                let fan_in = tensor.dims.iter().skip(1).product::<i64>() as usize;
                Range::for_fan_in(fan_in, if ends_branch { 0.25 } else { 2.0 })
            }
            ("Gemm", 1) if self.transposed => Range::for_fan_in(dim(1), 2.0),
            ("Gemm" | "MatMul", _) if tensor.dims.len() >= 2 => {
                Range::for_fan_in(dim(tensor.dims.len() - 2), 2.0)
            }
            ("BatchNormalization", 1 | 4) | ("LayerNormalization", 1) | ("Mul" | "Div", _) => {
                Range::AROUND_ONE
            }
            _ => Range::AROUND_ZERO,
        }
    }
}

/// The first reader of every value.
fn readers(graph: &GraphProto) -> HashMap<&str, Role> {
    let mut readers = HashMap::new();
    for node in &graph.node {
        let transposed = node.attribute.iter().any(|a| a.name == "transB" && a.i == 1);
        for (index, input) in node.input.iter().enumerate() {
            let output = node.output.first().cloned().unwrap_or_default();
            let role = || Role { op_type: node.op_type.clone(), input: index, transposed, output };
            readers.entry(input.as_str()).or_insert_with(role);
        }
    }
    readers
}

/// SplitMix64 (Steele, Lea, Flood 2014): one 64-bit state, full period.
struct SplitMix64(u64);

impl SplitMix64 {
    /// FNV-1a of the name, mixed with the seed.
    fn seeded(name: &str, seed: u64) -> SplitMix64 {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        SplitMix64(hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `-1..1`, from the top 24 bits: exact in float32.
    fn signed_unit(&mut self) -> f32 {
        let top = (self.next() >> 40) as f32;
        top / (1u32 << 23) as f32 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::floats;

    #[test]
    fn splitmix_gives_the_published_sequence() {
        // From seed 1234567, as in the reference implementation's test vectors.
        let mut random = SplitMix64(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn a_convolution_is_scaled_by_its_fan_in_and_the_seed_decides() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/zoo/resnet18.opset13.onnx");
        let stripped = crate::read(path.as_ref()).unwrap();
        let filled = |seed| {
            let mut model = stripped.clone();
            fill(&mut model, seed).unwrap();
            model
        };
        let (first, same, other) = (filled(1), filled(1), filled(2));
        assert_eq!(first, same);
        assert_ne!(first, other);
        let convolutions: Vec<_> =
            first.graph.initializer.iter().filter(|tensor| tensor.dims.len() == 4).collect();
        assert_eq!(convolutions.len(), 20);
        let gains = convolutions.iter().map(|tensor| {
            let fan_in: i64 = tensor.dims[1..].iter().product();
            let values = floats(tensor).unwrap();
            let square: f32 = values.iter().map(|v| v * v).sum();
            square / values.len() as f32 * fan_in as f32
        });
        let close = |gain: f32, to: f32| (gain / to - 1.0).abs() < 0.1;
        let (ends, others): (Vec<f32>, Vec<f32>) = gains.partition(|gain| *gain < 1.0);
        assert_eq!((ends.len(), others.len()), (11, 9), "8 blocks, 3 of them with a projection");
        assert!(ends.iter().all(|gain| close(*gain, 0.25)), "{ends:?}");
        assert!(others.iter().all(|gain| close(*gain, 2.0)), "{others:?}");
    }
}
