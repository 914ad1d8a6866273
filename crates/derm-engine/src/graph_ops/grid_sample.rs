use tract_onnx::prelude::tract_ndarray::{ArrayD, ArrayViewD, Dimension};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::nn::grid_sample::{GridSample, InterpolationMode, PaddingMode};

/// The gradient of a [`GridSample`] with respect to the values it samples or to its grid:
/// `(gradient, input, grid)`.
///
/// Max Jaderberg et al., *Spatial Transformer Networks*, 2015, arXiv:1506.02025, equations 5 to 7.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GridSampleGradient {
    /// The operator.
    pub op: GridSample,
    /// Whether it is the gradient with respect to the grid.
    pub of_grid: bool,
    /// The shape of the operand whose gradient it is.
    pub operand_shape: TVec<usize>,
}

/// One of the values along an axis that a sample is made of.
#[derive(Clone, Copy)]
struct Tap {
    /// None where it lies outside and is zero.
    index: Option<usize>,
    weight: f32,
    /// The weight's derivative with respect to the grid's coordinate.
    slope: f32,
}

impl Op for GridSampleGradient {
    fn name(&self) -> StaticName {
        if self.of_grid { "GridSampleGridGradient" } else { "GridSampleInputGradient" }.into()
    }
    op_as_typed_op!();
}

impl TypedOp for GridSampleGradient {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].datum_type.fact(&*self.operand_shape)))
    }
    as_op!();
}

impl EvalOp for GridSampleGradient {
    op_out_of_plan!();
    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [gradient, input, grid] = [0, 1, 2].map(|i| inputs[i].to_plain_array_view::<f32>());
        let (gradient, input, grid) = (gradient?, input?, grid?);
        let mut result = ArrayD::<f32>::zeros(&*self.operand_shape);
        let (channels, sizes) = (input.shape()[1], &input.shape()[2..]);
        let mut samples = gradient.shape().to_vec();
        samples.remove(1);
        for sample in tract_ndarray::indices(samples) {
            let sample = sample.slice();
            let axes = self.taps(&grid, sample, sizes);
            for_each_corner(&axes, |corner| {
                let Some(position) =
                    corner.iter().map(|tap| tap.index).collect::<Option<TVec<_>>>()
                else {
                    return;
                };
                let weight: f32 = corner.iter().map(|tap| tap.weight).product();
                let mut from: TVec<usize> = tvec!(sample[0], 0);
                from.extend_from_slice(&sample[1..]);
                let mut at: TVec<usize> = tvec!(sample[0], 0);
                at.extend(position);
                for channel in 0..channels {
                    (from[1], at[1]) = (channel, channel);
                    let gradient = gradient[&*from];
                    if !self.of_grid {
                        result[&*at] += gradient * weight;
                        continue;
                    }
                    for axis in 0..corner.len() {
                        let others = corner.iter().enumerate().filter(|(other, _)| *other != axis);
                        let others: f32 = others.map(|(_, tap)| tap.weight).product();
                        let coordinate = coordinate(sample, corner.len(), axis);
                        let slope = corner[axis].slope * others;
                        result[&*coordinate] += gradient * input[&*at] * slope;
                    }
                }
            });
        }
        Ok(tvec!(result.into_tvalue()))
    }
}

/// Index into the grid of a sample's coordinate along a spatial axis: the last axis comes first.
fn coordinate(sample: &[usize], rank: usize, axis: usize) -> TVec<usize> {
    sample.iter().copied().chain([rank - 1 - axis]).collect()
}

/// Calls `visit` with one tap of each axis, in every combination.
fn for_each_corner(axes: &[TVec<Tap>], mut visit: impl FnMut(&[Tap])) {
    let count: usize = axes.iter().map(|taps| taps.len()).product();
    for mut number in 0..count {
        let mut corner: TVec<Tap> = tvec!();
        for taps in axes {
            corner.push(taps[number % taps.len()]);
            number /= taps.len();
        }
        visit(&corner);
    }
}

impl GridSampleGradient {
    /// The taps of a sample along each spatial axis, as the operator's evaluation has them.
    fn taps(&self, grid: &ArrayViewD<f32>, sample: &[usize], sizes: &[usize]) -> Vec<TVec<Tap>> {
        let rank = sizes.len();
        let at = |axis: usize| {
            let size = sizes[axis] as f32;
            let value = grid[&*coordinate(sample, rank, axis)];
            let (at, slope) = if self.op.align_corners {
                ((value + 1.0) / 2.0 * (size - 1.0), (size - 1.0) / 2.0)
            } else {
                (((value + 1.0) * size - 1.0) / 2.0, size / 2.0)
            };
            if matches!(self.op.mode, InterpolationMode::Nearest) {
                (at.round_ties_even(), 0.0)
            } else {
                (at, slope)
            }
        };
        let mut places: Vec<(f32, f32)> = (0..rank).map(at).collect();
        let outside = |(axis, &(at, _)): (usize, &(f32, f32))| {
            let (low, high) = self.bounds(sizes[axis]);
            at < low || at > high
        };
        if places.iter().enumerate().any(outside) {
            for (place, &size) in places.iter_mut().zip(sizes) {
                *place = self.padded(*place, size);
            }
        }
        let taps = |((at, slope), &size): ((f32, f32), &usize)| {
            let taps = weights(&self.op.mode, at);
            let tap = |(index, weight, derivative): (isize, f32, f32)| Tap {
                index: self.index(index, size),
                weight,
                slope: derivative * slope,
            };
            taps.into_iter().map(tap).collect()
        };
        places.into_iter().zip(sizes).map(taps).collect()
    }

    fn bounds(&self, size: usize) -> (f32, f32) {
        let last = size as f32 - 1.0;
        if self.op.align_corners { (0.0, last) } else { (-0.5, last + 0.5) }
    }

    /// A coordinate of a sample outside the input, and its derivative.
    fn padded(&self, (at, slope): (f32, f32), size: usize) -> (f32, f32) {
        let (low, high) = self.bounds(size);
        match self.op.padding_mode {
            PaddingMode::Zeros => (at, slope),
            PaddingMode::Border => {
                let inside = at.clamp(0.0, high + low);
                (inside, if inside == at { slope } else { 0.0 })
            }
            PaddingMode::Reflection => {
                let (at, sign) = reflected(at, low, high);
                (at, slope * sign)
            }
        }
    }

    fn index(&self, index: isize, size: usize) -> Option<usize> {
        let last = size as isize - 1;
        match self.op.padding_mode {
            PaddingMode::Zeros => usize::try_from(index).ok().filter(|&index| index < size),
            PaddingMode::Border => Some(index.clamp(0, last) as usize),
            PaddingMode::Reflection => {
                let (low, high) = self.bounds(size);
                Some(reflected(index as f32, low, high).0.clamp(0.0, last as f32) as usize)
            }
        }
    }
}

/// A coordinate reflected into bounds as often as it takes, and the sign of its derivative.
fn reflected(at: f32, low: f32, high: f32) -> (f32, f32) {
    let range = high - low;
    if range == 0.0 {
        return (low, 0.0);
    }
    let (distance, from, to, sign) = if at < low {
        (low - at, low, high, -1.0)
    } else if at > high {
        (at - high, high, low, 1.0)
    } else {
        return (at, 1.0);
    };
    let times = (distance / range) as i32;
    let rest = distance - times as f32 * range;
    let inward = if to > from { 1.0 } else { -1.0 };
    // `rest` grows with the distance, which grows against `sign`.
    if times % 2 == 0 {
        (from + inward * rest, inward * sign)
    } else {
        (to - inward * rest, -inward * sign)
    }
}

/// `(index, weight, derivative of the weight)` of the values around a coordinate.
fn weights(mode: &InterpolationMode, at: f32) -> TVec<(isize, f32, f32)> {
    let below = at.floor();
    let (first, x) = (below as isize, at - below);
    match mode {
        InterpolationMode::Nearest => tvec!((at as isize, 1.0, 0.0)),
        InterpolationMode::Bilinear => {
            tvec!((first, 1.0 - x, -1.0), (first.saturating_add(1), x, 1.0))
        }
        InterpolationMode::Bicubic => {
            let weight = |index: isize| {
                let distance = x - index as f32;
                let (weight, derivative) = cubic(distance.abs());
                (
                    first.saturating_add(index),
                    weight,
                    derivative * if distance < 0.0 { -1.0 } else { 1.0 },
                )
            };
            (-1..3).map(weight).collect()
        }
    }
}

/// Keys' cubic kernel with a = -0.75 at a distance of 0..=2, and its derivative.
fn cubic(t: f32) -> (f32, f32) {
    const A: f32 = -0.75;
    if t <= 1.0 {
        let value = ((A + 2.0) * t - (A + 3.0)) * t * t + 1.0;
        (value, (3.0 * (A + 2.0) * t - 2.0 * (A + 3.0)) * t)
    } else {
        let value = ((A * t - 5.0 * A) * t + 8.0 * A) * t - 4.0 * A;
        (value, (3.0 * A * t - 10.0 * A) * t + 8.0 * A)
    }
}
