//! A chain of convolutions, run a few rows at a time.
//!
//! The widest values of a network are those within a block: an expansion writes them, a depthwise
//! convolution reads them, and nobody else. Where such a value is larger than the cache, the
//! convolutions become one step that goes down the picture in bands, and only the rows that a band
//! needs are ever in memory (compare Alwani et al. 2016, *Fused-layer CNN accelerators*). That saves
//! memory traffic and memory.

use super::conv::resident;
use super::operation::{Operation, Resident, Work};
use super::{BufferId, EpilogueOp, RunContext};
use crate::RunError;
use crate::arena::CACHE_LINE;
use derm_kernels::{ConvGeometry, ConvPlan, Epilogue, OutputPart, Ring, RowsCall, SharedOutput};
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
    plan: ConvPlan,
    epilogue: Vec<EpilogueOp>,
    /// Rows of its output that are in memory.
    held_rows: usize,
}

impl Stage {
    /// A stage of a plan that runs by rows.
    pub(crate) fn new(plan: ConvPlan, epilogue: Vec<EpilogueOp>) -> Stage {
        Stage { plan, epilogue, held_rows: 0 }
    }

    fn geometry(&self) -> &ConvGeometry {
        self.plan.geometry()
    }

    fn rows(&self) -> usize {
        self.geometry().rows().output()
    }

    fn held_values(&self) -> usize {
        self.held_rows * self.geometry().columns().output() * self.geometry().outputs()
    }
}

impl ConvChain {
    /// A chain with as many rows in a band as may be; none where bands would have so few positions
    /// that widening the weights costs more than the memory traffic that is saved.
    pub(crate) fn new(mut stages: Vec<Stage>, input: BufferId) -> Option<ConvChain> {
        let rows = stages.last()?.rows();
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
        self.last().rows()
    }

    /// Float32 values of the rows between stages.
    fn between(&self) -> usize {
        self.stages[..self.stages.len() - 1].iter().map(Stage::held_values).sum()
    }

    /// Float32 values of scratch of one thread, in whole cache lines.
    fn scratch_of_thread(&self) -> usize {
        let stages = self.stages.iter().map(|stage| stage.plan.scratch_len());
        (self.between() + stages.max().unwrap_or(0)).next_multiple_of(CACHE_LINE)
    }

    /// The rows of each stage's output that rows of the last one need.
    fn needed(&self, rows: Range<usize>) -> Vec<Range<usize>> {
        let mut needed = vec![rows];
        for stage in self.stages[1..].iter().rev() {
            let rows = stage.geometry().rows().needed(&needed[needed.len() - 1]);
            needed.push(rows);
        }
        needed.reverse();
        needed
    }

    /// Computes the rows of the output's part.
    fn run_part(
        &self,
        input: &[f32],
        mut output: OutputPart<'_>,
        epilogue: &[Epilogue<'_>],
        scratch: &mut [f32],
    ) {
        let part = output.units(self.units());
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
                let held_rows = match index.checked_sub(1) {
                    None => stage.geometry().rows().input(),
                    Some(before) => self.stages[before].held_rows,
                };
                let input = Ring { values, held_rows };
                let functions: Vec<Epilogue<'_>>;
                let (values, epilogue) = match own.first_mut() {
                    None => (output.reborrow(), epilogue),
                    Some(ring) => {
                        let inner = stage.epilogue.iter().filter_map(EpilogueOp::unary);
                        functions = inner.map(Epilogue::Unary).collect();
                        (OutputPart::whole(ring), &functions[..])
                    }
                };
                let output = Ring { values, held_rows: stage.held_rows };
                stage.plan.run_rows(RowsCall { input, output, epilogue, scratch, rows });
            }
        }
    }
}

/// Sets the rows that each stage holds for a band of `band` rows of the last output.
fn hold_rows(stages: &mut [Stage], band: usize) {
    let mut held = band;
    for stage in stages.iter_mut().rev() {
        let rows = stage.geometry().rows();
        stage.held_rows = held.min(rows.output());
        held = (stage.held_rows - 1) * rows.stride() + (rows.kernel() - 1) * rows.dilation() + 1;
    }
}

/// Positions of a band, on average over the weights.
fn positions_of_band(stages: &[Stage], band: usize, rows: usize) -> f64 {
    let weights: f64 = stages.iter().map(|stage| stage.geometry().weights() as f64).sum();
    let positions = stages.iter().map(|stage| {
        let geometry = stage.geometry();
        let rows = band as f64 * stage.rows() as f64 / rows as f64;
        rows * geometry.columns().output() as f64 * geometry.weights() as f64
    });
    positions.sum::<f64>() / weights
}

impl Operation for ConvChain {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        visit(self.input);
        self.last().epilogue.iter().filter_map(EpilogueOp::buffer).for_each(visit);
    }

    fn resident(&self, visit: &mut dyn FnMut(Resident)) {
        self.stages.iter().map(|stage| resident(&stage.plan)).for_each(visit);
    }

    fn scratch(&self, threads: usize) -> usize {
        self.scratch_of_thread() * threads
    }

    fn work(&self) -> Work {
        let kinds: Vec<String> = self.stages.iter().map(|stage| stage.plan.to_string()).collect();
        let flops = self.stages.iter().map(|stage| stage.plan.flops()).sum();
        Work::float(kinds.join(", "), flops)
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let team = context.team;
        let (output, scratch, reads) = context.open();
        let input = reads.get(self.input);
        let epilogue: Vec<Epilogue<'_>> =
            self.last().epilogue.iter().map(|op| op.open(&reads)).collect();
        let output = SharedOutput::new(output);
        team.share(self.units(), scratch, |rows, scratch| {
            // SAFETY: `share` gives each row to one thread, and rows are the units of the last
            // stage's plan, the only one that writes the output.
            let output = unsafe { output.part(rows) };
            self.run_part(input, output, &epilogue, scratch);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Program;
    use derm_kernels::{ConvCall, Isa, PackedConv, Precision, Unary, Window, WindowAxis};
    use proptest::prelude::*;

    fn numbers(count: usize) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(7);
        (0..count).map(|_| random.f32() - 0.5).collect()
    }

    /// A convolution, and the rows and columns of its output.
    fn conv(
        [rows, columns]: [usize; 2],
        (kernel, stride): (usize, usize),
        [inputs, outputs]: [usize; 2],
        groups: usize,
    ) -> (ConvPlan, [usize; 2]) {
        let axis = |input: usize| {
            let before = kernel / 2;
            let output = (input + 2 * before - kernel) / stride + 1;
            WindowAxis::new(Window { input, output, kernel, stride, dilation: 1, before }).unwrap()
        };
        let axes = [axis(rows), axis(columns)];
        let geometry = ConvGeometry::new(axes, inputs, outputs, groups).unwrap();
        let weights = numbers(geometry.weights());
        let value = |o: usize, i: usize, tap: usize| {
            weights[(o * geometry.depth() + i) * geometry.taps() + tap]
        };
        let packed = PackedConv::new(Isa::best(), Precision::F16, &geometry, None, value);
        (ConvPlan::new(packed, &geometry), axes.map(|axis| axis.output()))
    }

    proptest! {
        #[test]
        fn a_chain_equals_its_convolutions_one_after_the_other(
            rows in 5usize..40, columns in 60usize..90, kernel in prop::sample::select(vec![1, 3, 5]),
            stride in 1usize..3, first in prop::sample::select(vec![1, 3]), wide in 20usize..80,
            cut in 0usize..20,
        ) {
            let (a, axes) = conv([rows, columns], (first, 1), [3, wide], 1);
            let (b, axes) = conv(axes, (kernel, stride), [wide, wide], wide);
            let (c, _) = conv(axes, (1, 1), [wide, 9], 1);
            let input = numbers(a.geometry().input_len());
            let relu6 = Unary::Clamp(0.0, 6.0);
            let epilogue = &[Epilogue::Unary(relu6)];
            let mut whole = input.clone();
            for plan in [&a, &b, &c] {
                let mut computed = vec![f32::NAN; plan.geometry().output_len()];
                let scratch = &mut vec![f32::NAN; plan.scratch_len()];
                let output = OutputPart::whole(&mut computed);
                plan.run(ConvCall { input: &whole, output, epilogue, scratch });
                whole = computed;
            }
            let buffer = Program::default().add_buffer(input.len());
            let stages = [a, b, c].map(|plan| {
                let by_rows = ConvPlan::by_rows(plan.weights().clone(), plan.geometry());
                Stage::new(by_rows, vec![EpilogueOp::Unary(relu6)])
            });
            let Some(chain) = ConvChain::new(stages.into(), buffer) else {
                return Err(TestCaseError::reject("too few positions"));
            };
            let mut computed = vec![f32::NAN; whole.len()];
            let mut scratch = vec![f32::NAN; chain.scratch(1)];
            let cut = cut.min(chain.units());
            let output = SharedOutput::new(&mut computed);
            for part in [0..cut, cut..chain.units()] {
                // SAFETY: one part at a time.
                let part = unsafe { output.part(part) };
                chain.run_part(&input, part, epilogue, &mut scratch);
            }
            for (found, expected) in computed.iter().zip(&whole) {
                prop_assert!((found - expected).abs() < 1e-4, "{} instead of {}", found, expected);
            }
        }
    }
}
