//! A chain of convolutions, run a few rows at a time.
//!
//! The widest values of a network are those within a block: an expansion writes them, a depthwise
//! convolution reads them, and nobody else. Where such a value is larger than the cache, the
//! convolutions become one step that goes down the picture in bands, and only the rows that a band
//! needs are ever in memory (compare Alwani et al. 2016, *Fused-layer CNN accelerators*). That saves
//! memory traffic and memory.

use super::operation::{Operation, Resident, Work};
use super::{BufferId, EpilogueOp, RunContext};
use crate::RunError;
use crate::arena::CACHE_LINE;
use crate::threads::SharedOutput;
use crate::weights::ConvWeights;
use derm_kernels::{After, Axis, ConvShape, Ring};
use std::ops::Range;

/// Float32 values of all the rows between convolutions that a band may have in memory.
const BAND: usize = 96 * 1024;
/// Positions of a band for which weights are widened once, at least, on average over the weights.
const POSITIONS: usize = 192;

/// Convolutions that each read only what the one before them computes.
#[derive(Debug)]
pub(crate) struct ConvChain {
    stages: Vec<Stage>,
    input: BufferId,
    /// Rows of the last output that are computed together.
    band: usize,
}

/// A convolution of a chain, with its epilogue.
#[derive(Debug)]
pub(crate) struct Stage {
    weights: ConvWeights,
    shape: ConvShape,
    epilogue: Vec<EpilogueOp>,
    /// Rows of its output that are in memory.
    held_rows: usize,
}

impl Stage {
    pub(crate) fn new(weights: ConvWeights, shape: ConvShape, epilogue: Vec<EpilogueOp>) -> Stage {
        Stage { weights, shape, epilogue, held_rows: 0 }
    }

    fn held_values(&self) -> usize {
        self.held_rows * self.shape.columns.output * self.shape.outputs
    }

    /// How many weights it has.
    fn weight_count(&self) -> usize {
        let ConvShape { rows, columns, inputs, outputs, groups } = self.shape;
        rows.kernel * columns.kernel * inputs / groups * outputs
    }
}

impl ConvChain {
    /// A chain with as many rows in a band as may be; none where bands would have so few positions
    /// that widening the weights costs more than the memory traffic that is saved.
    pub(crate) fn new(mut stages: Vec<Stage>, input: BufferId) -> Option<ConvChain> {
        let rows = stages.last()?.shape.rows.output;
        let mut best = None;
        for band in 1..=rows {
            hold_rows(&mut stages, band);
            let inner = &stages[..stages.len() - 1];
            if inner.iter().map(Stage::held_values).sum::<usize>() > BAND {
                break;
            }
            best = Some(band);
        }
        let band = best?;
        hold_rows(&mut stages, band);
        // All of the last output is in memory.
        stages.last_mut().expect("a chain has stages").held_rows = rows;
        let pays = positions_of_band(&stages, band, rows) >= POSITIONS as f64;
        pays.then_some(ConvChain { stages, input, band })
    }

    fn last(&self) -> &Stage {
        self.stages.last().expect("a chain has stages")
    }

    /// Rows of the last output: what threads share.
    fn units(&self) -> usize {
        self.last().shape.rows.output
    }

    /// Float32 values of the rows between stages.
    fn between(&self) -> usize {
        self.stages[..self.stages.len() - 1].iter().map(Stage::held_values).sum()
    }

    /// Float32 values of scratch of one thread, in whole cache lines.
    fn scratch_of_thread(&self) -> usize {
        let stages = self.stages.iter().map(|stage| stage.weights.scratch_of_rows());
        (self.between() + stages.max().unwrap_or(0)).next_multiple_of(CACHE_LINE)
    }

    /// The rows of each stage's output that rows of the last one need.
    fn needed(&self, rows: Range<usize>) -> Vec<Range<usize>> {
        let mut needed = vec![rows];
        for stage in self.stages[1..].iter().rev() {
            let rows = stage.shape.rows.needed(&needed[needed.len() - 1]);
            needed.push(rows);
        }
        needed.reverse();
        needed
    }

    /// Computes the rows `part` of the output.
    ///
    /// # Safety
    /// `output` must have the length of the last stage's shape, and nobody else may touch those rows
    /// meanwhile.
    unsafe fn run_part(
        &self,
        input: &[f32],
        output: *mut f32,
        epilogue: &[After<'_>],
        scratch: &mut [f32],
        part: Range<usize>,
    ) {
        let (mut rest, scratch) = scratch.split_at_mut(self.between());
        let mut rings: Vec<&mut [f32]> = Vec::new();
        for stage in &self.stages[..self.stages.len() - 1] {
            let (ring, after) = rest.split_at_mut(stage.held_values());
            rings.push(ring);
            rest = after;
        }
        let mut done: Vec<usize> = self.needed(part.clone()).iter().map(|r| r.start).collect();
        for start in part.clone().step_by(self.band) {
            let needed = self.needed(start..(start + self.band).min(part.end));
            for (index, stage) in self.stages.iter().enumerate() {
                // A stride wider than the window leaves rows out between bands.
                let Range { start, end } = needed[index];
                let rows = start.max(done[index]).min(end)..end;
                done[index] = end;
                let (before, own) = rings.split_at_mut(index);
                let values = before.last().map_or(input, |ring| &**ring);
                let input = match index.checked_sub(1) {
                    None => Ring { values, kept: stage.shape.rows.input },
                    Some(before) => Ring { values, kept: self.stages[before].held_rows },
                };
                let values = own.first_mut().map_or(output, |ring| ring.as_mut_ptr());
                let output = Ring { values, kept: stage.held_rows };
                let own: Vec<After<'_>>;
                let epilogue = if index + 1 == self.stages.len() {
                    epilogue
                } else {
                    let functions = stage.epilogue.iter().filter_map(EpilogueOp::unary);
                    own = functions.map(After::Activate).collect();
                    &own
                };
                // SAFETY: rings hold what the next stage needs of a band; the output's rows are the
                // caller's.
                unsafe {
                    stage.weights.run_rows(&stage.shape, input, output, epilogue, scratch, rows);
                }
            }
        }
    }
}

/// Sets the rows that each stage holds for a band of `band` rows of the last output.
fn hold_rows(stages: &mut [Stage], band: usize) {
    let mut held = band;
    for stage in stages.iter_mut().rev() {
        let Axis { output, stride, kernel, dilation, .. } = stage.shape.rows;
        stage.held_rows = held.min(output);
        held = (stage.held_rows - 1) * stride + (kernel - 1) * dilation + 1;
    }
}

/// Positions of a band, on average over the weights.
fn positions_of_band(stages: &[Stage], band: usize, rows: usize) -> f64 {
    let weights: f64 = stages.iter().map(|stage| stage.weight_count() as f64).sum();
    let positions = stages.iter().map(|stage| {
        let rows = band as f64 * stage.shape.rows.output as f64 / rows as f64;
        rows * stage.shape.columns.output as f64 * stage.weight_count() as f64
    });
    positions.sum::<f64>() / weights
}

impl Operation for ConvChain {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        visit(self.input);
        self.last().epilogue.iter().filter_map(EpilogueOp::buffer).for_each(visit);
    }

    fn resident(&self, visit: &mut dyn FnMut(Resident)) {
        self.stages.iter().map(|stage| stage.weights.resident()).for_each(visit);
    }

    fn scratch(&self, threads: usize) -> usize {
        self.scratch_of_thread() * threads
    }

    fn work(&self) -> Work {
        let works = self.stages.iter().map(|stage| stage.weights.work(&stage.shape));
        let (kinds, flops): (Vec<String>, Vec<usize>) =
            works.map(|work| (work.kind, work.flops)).unzip();
        Work { kind: kinds.join(", "), flops: flops.iter().sum() }
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let team = context.team;
        let (output, scratch, reads) = context.open();
        let input = reads.get(self.input);
        let epilogue: Vec<After<'_>> =
            self.last().epilogue.iter().map(|op| op.open(&reads)).collect();
        let output = SharedOutput(output.as_mut_ptr());
        team.share(self.units(), scratch, |part, scratch| {
            // SAFETY: `share` gives each row to one thread, and the output is ours alone.
            unsafe { self.run_part(input, output.get(), &epilogue, scratch, part) };
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Program;
    use derm_kernels::{Activation, Depthwise, Isa, PackedConv, Precision};
    use proptest::prelude::*;

    fn numbers(count: usize) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(7);
        (0..count).map(|_| random.f32() - 0.5).collect()
    }

    /// A convolution, and the rows and columns of its output.
    fn stage(
        [rows, columns]: [usize; 2],
        (kernel, stride): (usize, usize),
        [inputs, outputs]: [usize; 2],
        groups: usize,
    ) -> (Stage, [usize; 2]) {
        let axis = |input: usize| {
            let before = kernel / 2;
            let output = (input + 2 * before - kernel) / stride + 1;
            Axis { input, output, kernel, stride, dilation: 1, before, spread: 1 }
        };
        let (rows, columns) = (axis(rows), axis(columns));
        let shape = ConvShape { rows, columns, inputs, outputs, groups };
        let weights = numbers(outputs * inputs / groups * kernel * kernel);
        let isa = Isa::best();
        let weights = if groups > 1 {
            let weight = |channel, tap| weights[channel * kernel * kernel + tap];
            ConvWeights::Depthwise(Depthwise::new(isa, Precision::F16, &shape, None, weight))
        } else {
            let weight = |o, i, tap| weights[(o * inputs + i) * kernel * kernel + tap];
            ConvWeights::Dense(PackedConv::new(isa, Precision::F16, &shape, None, weight))
        };
        let relu6 = EpilogueOp::Unary(Activation::Clamp(0.0, 6.0));
        (Stage::new(weights, shape, vec![relu6]), [rows.output, columns.output])
    }

    proptest! {
        #[test]
        fn a_chain_equals_its_convolutions_one_after_the_other(
            rows in 5usize..40, columns in 60usize..90, kernel in prop::sample::select(vec![1, 3, 5]),
            stride in 1usize..3, first in prop::sample::select(vec![1, 3]), wide in 20usize..80,
            cut in 0usize..20,
        ) {
            let (a, axes) = stage([rows, columns], (first, 1), [3, wide], 1);
            let (b, axes) = stage(axes, (kernel, stride), [wide, wide], wide);
            let (c, _) = stage(axes, (1, 1), [wide, 9], 1);
            let input = numbers(a.shape.input_len());
            let epilogue = [After::Activate(Activation::Clamp(0.0, 6.0))];
            let mut whole = input.clone();
            for Stage { weights, shape, .. } in [&a, &b, &c] {
                let mut output = vec![f32::NAN; shape.output_len()];
                let mut scratch = vec![f32::NAN; weights.scratch(shape)];
                let (to, all) = (output.as_mut_ptr(), 0..weights.units(shape));
                // SAFETY: the output is as long as the shape says, and ours.
                unsafe { weights.run_part(shape, &whole, to, &epilogue, &mut scratch, all) };
                whole = output;
            }
            let buffer = Program::default().add_buffer(input.len());
            let Some(chain) = ConvChain::new(vec![a, b, c], buffer) else {
                return Err(TestCaseError::reject("too few positions"));
            };
            let mut output = vec![f32::NAN; whole.len()];
            let mut scratch = vec![f32::NAN; chain.scratch(1)];
            let cut = cut.min(chain.units());
            for part in [0..cut, cut..chain.units()] {
                let to = output.as_mut_ptr();
                // SAFETY: as above.
                unsafe { chain.run_part(&input, to, &epilogue, &mut scratch, part) };
            }
            for (found, expected) in output.iter().zip(&whole) {
                prop_assert!((found - expected).abs() < 1e-4, "{} instead of {}", found, expected);
            }
        }
    }
}
