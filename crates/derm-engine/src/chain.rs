//! Convolutions one after the other, a few rows at a time.
//!
//! The widest values of a network are those within a block: an expansion writes them, a depthwise
//! convolution reads them, and nobody else. Where one is larger than the cache, the convolutions
//! become one step that goes down the picture in bands, and only the rows that a band needs are
//! ever in memory (compare Alwani and others 2016, *Fused-layer CNN accelerators*). That saves the
//! way to memory, and the memory.

use crate::lower::Start;
use crate::step::{Action, Buffer, Step, Then};
use derm_kernels::{ConvGeometry, ConvPlan, Epilogue, OutputPart, Ring, RowsCall, WindowAxis};
use std::collections::HashMap;
use std::ops::Range;

/// Float32 values between two convolutions from which on they are chained: more than half a
/// second-level cache.
const LARGE: usize = 160 * 1024;
/// Float32 values of all the rows between convolutions that a band may have in memory.
const BAND: usize = 96 * 1024;
/// Places of a band for which weights are widened once, at least, on average over the weights.
const PLACES: usize = 192;

/// A convolution of a chain, and what follows on it.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Made by [`ConvPlan::by_rows`].
    pub(crate) plan: ConvPlan,
    pub(crate) then: Vec<Then>,
    /// Rows of its output that are in memory.
    kept: usize,
}

/// Convolutions that each read only what the one before them makes.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) stages: Vec<Stage>,
    /// Rows of the last output that are made together.
    band: usize,
}

impl Chain {
    /// Float32 values of scratch of one thread, in whole cache lines.
    fn scratch(&self) -> usize {
        (self.between()
            + self.stages.iter().map(|stage| stage.plan.scratch_len()).max().unwrap_or(0))
        .next_multiple_of(16)
    }

    /// Float32 values of the rows between stages.
    fn between(&self) -> usize {
        let (_, inner) = self.stages.split_last().expect("a chain has stages");
        inner.iter().map(Stage::kept_values).sum()
    }

    /// Rows of the last output: what threads share.
    pub(crate) fn units(&self) -> usize {
        self.last().rows().output()
    }

    pub(crate) fn last(&self) -> &Stage {
        self.stages.last().expect("a chain has stages")
    }

    /// Makes the rows of the output's part.
    ///
    /// # Panics
    /// If input or output do not have the lengths of the first and last geometry, or scratch is
    /// missing.
    pub(crate) fn run_part(
        &self,
        input: &[f32],
        mut output: OutputPart<'_>,
        epilogue: &[Epilogue<'_>],
        scratch: &mut [f32],
    ) {
        let part = output.units(self.units());
        let (mut rings, scratch) = scratch.split_at_mut(self.between());
        let mut kept: Vec<&mut [f32]> = Vec::new();
        for stage in &self.stages[..self.stages.len() - 1] {
            let (ring, rest) = rings.split_at_mut(stage.kept_values());
            kept.push(ring);
            rings = rest;
        }
        let mut done: Vec<usize> =
            self.wanted(part.start..part.end).iter().map(|r| r.start).collect();
        for start in part.clone().step_by(self.band) {
            let wanted = self.wanted(start..(start + self.band).min(part.end));
            for (number, stage) in self.stages.iter().enumerate() {
                // A stride wider than the kernel leaves rows out between bands.
                let Range { start, end } = wanted[number];
                let rows = start.max(done[number]).min(end)..end;
                done[number] = end;
                let (before, own) = kept.split_at_mut(number);
                let values = before.last().map_or(input, |ring| &**ring);
                let input = match number.checked_sub(1) {
                    None => Ring { values, held_rows: stage.rows().input() },
                    Some(before) => Ring { values, held_rows: self.stages[before].kept },
                };
                let values = match own.first_mut() {
                    Some(ring) => OutputPart::whole(ring),
                    None => output.reborrow(),
                };
                let output = Ring { values, held_rows: stage.kept };
                let own: Vec<Epilogue<'_>>;
                let epilogue = if number + 1 == self.stages.len() {
                    epilogue
                } else {
                    own =
                        stage.then.iter().filter_map(Then::function).map(Epilogue::Unary).collect();
                    &own
                };
                stage.plan.run_rows(RowsCall { input, output, epilogue, scratch, rows });
            }
        }
    }

    /// The rows of each stage's output that rows of the last one need.
    fn wanted(&self, rows: Range<usize>) -> Vec<Range<usize>> {
        let mut wanted = vec![rows];
        for stage in self.stages[1..].iter().rev() {
            let rows = stage.rows().needed(&wanted[wanted.len() - 1]);
            wanted.push(rows);
        }
        wanted.reverse();
        wanted
    }

    /// With as many rows in a band as may be; none where that would not be worth it.
    fn planned(mut stages: Vec<Stage>) -> Option<Chain> {
        let rows = stages.last()?.rows().output();
        let mut best = None;
        for band in 1..=rows {
            let mut kept = band;
            for number in (0..stages.len()).rev() {
                let axis = stages[number].rows();
                stages[number].kept = kept.min(axis.output());
                kept = (stages[number].kept - 1) * axis.stride()
                    + (axis.kernel() - 1) * axis.dilation()
                    + 1;
            }
            let inner = &stages[..stages.len() - 1];
            if inner.iter().map(Stage::kept_values).sum::<usize>() > BAND {
                break;
            }
            best = Some((band, stages.iter().map(|stage| stage.kept).collect::<Vec<_>>()));
        }
        let (band, kept) = best?;
        let last = stages.len() - 1;
        for (number, (stage, kept)) in stages.iter_mut().zip(kept).enumerate() {
            // All of the last output is in memory.
            stage.kept = if number == last { rows } else { kept };
        }
        let weights = stages.iter().map(|stage| stage.weights() as f64);
        let places = stages.iter().map(|stage| {
            let rows = band as f64 * stage.rows().output() as f64 / rows as f64;
            rows * stage.plan.geometry().columns().output() as f64 * stage.weights() as f64
        });
        let places = places.sum::<f64>() / weights.sum::<f64>();
        (places >= PLACES as f64).then_some(Chain { stages, band })
    }
}

impl Stage {
    fn rows(&self) -> WindowAxis {
        self.plan.geometry().rows()
    }

    fn kept_values(&self) -> usize {
        let geometry = self.plan.geometry();
        self.kept * geometry.columns().output() * geometry.outputs()
    }

    fn weights(&self) -> usize {
        self.plan.geometry().weights()
    }
}

/// Chains the convolutions of `steps` where that is worth it. `buffers` are the buffers' lengths,
/// `outputs` those that are read after the last step, `starts` the first steps of the phases.
pub(crate) fn chained(
    steps: Vec<Step>,
    buffers: &mut Vec<usize>,
    outputs: &[Buffer],
    starts: &mut [Start],
    workers: usize,
) -> Vec<Step> {
    let mut uses: HashMap<Buffer, usize> = HashMap::new();
    for buffer in steps.iter().flat_map(Step::buffers).chain(outputs.iter().copied()) {
        *uses.entry(buffer).or_default() += 1;
    }
    let begins = |number: usize| starts.iter().any(|start| start.step == number);
    // Steps that each read alone what the one before them makes.
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let follows = |before: &Step| {
            // Written once and read once.
            uses[&before.output] == 2 && !begins(number) && leads_to(before, step)
        };
        match runs.last_mut() {
            Some(run) if follows(&steps[number - 1]) => run.end = number + 1,
            _ => runs.push(number..number + 1),
        }
    }
    let mut places = HashMap::new();
    let mut steps = steps.into_iter();
    let mut joined = Vec::new();
    for run in runs {
        places.insert(run.start, joined.len());
        join(steps.by_ref().take(run.len()).collect(), buffers, workers, &mut joined);
    }
    for start in starts {
        start.step = places.get(&start.step).copied().unwrap_or(joined.len());
    }
    joined
}

/// Whether the second of two convolutions reads what the first one makes, that is large, and can
/// be made a few rows at a time.
fn leads_to(before: &Step, after: &Step) -> bool {
    let (Some(first), Some(second)) = (Parts::of(before), Parts::of(after)) else { return false };
    let length = first.plan.geometry().output_len();
    length >= LARGE
        && length == second.plan.geometry().input_len()
        && second.input == before.output
        && first.then.iter().all(|then| then.function().is_some())
}

/// Chains a run of steps; where that is not worth it, cuts it where the least lies between them.
fn join(mut run: Vec<Step>, buffers: &mut Vec<usize>, workers: usize, joined: &mut Vec<Step>) {
    if let Some(chain) = stages(&run).and_then(Chain::planned)
        && let [first, .., last] = &run[..]
        && let Some(parts) = Parts::of(first)
    {
        buffers.push(chain.scratch() * workers);
        let action = Action::Chain { chain, input: parts.input, scratch: buffers.len() - 1 };
        joined.push(Step { name: first.name.clone(), action, output: last.output });
        return;
    }
    if run.len() < 2 {
        joined.append(&mut run);
        return;
    }
    let between =
        |&number: &usize| Parts::of(&run[number - 1]).map(|it| it.plan.geometry().output_len());
    let cut = (1..run.len()).min_by_key(between).expect("two steps at least");
    let rest = run.split_off(cut);
    join(run, buffers, workers, joined);
    join(rest, buffers, workers, joined);
}

/// The convolutions of two steps or more, all with rows and columns; none where that cannot be.
fn stages(run: &[Step]) -> Option<Vec<Stage>> {
    let parts: Vec<Parts<'_>> = run.iter().map(Parts::of).collect::<Option<_>>()?;
    if parts.len() < 2 {
        return None;
    }
    // A product's places are in one row; they are the rows and columns of its neighbours.
    let mut shapes: Vec<ConvGeometry> = parts.iter().map(|parts| *parts.plan.geometry()).collect();
    for number in (0..shapes.len() - 1).rev() {
        let next = shapes[number + 1];
        shapes[number] = with_axes(shapes[number], [next.rows().input(), next.columns().input()]);
    }
    for number in 1..shapes.len() {
        let before = shapes[number - 1];
        shapes[number] =
            with_axes(shapes[number], [before.rows().output(), before.columns().output()]);
    }
    let fit = shapes.windows(2).all(|pair| {
        let made = [pair[0].rows().output(), pair[0].columns().output()];
        made == [pair[1].rows().input(), pair[1].columns().input()] && made[0] > 1
    });
    let stages = parts.into_iter().zip(shapes).map(|(parts, shape)| {
        let plan = ConvPlan::by_rows(parts.plan.weights().clone(), &shape);
        Stage { plan, then: parts.then.to_vec(), kept: 0 }
    });
    fit.then(|| stages.collect())
}

/// A product over places in one row as one over rows and columns, if there are as many.
fn with_axes(shape: ConvGeometry, [rows, columns]: [usize; 2]) -> ConvGeometry {
    let is_product = shape.rows() == WindowAxis::ONE && shape.columns().is_pointwise();
    if is_product
        && rows * columns == shape.columns().input()
        && let (Ok(rows), Ok(columns)) =
            (WindowAxis::pointwise(rows), WindowAxis::pointwise(columns))
    {
        let (inputs, outputs, groups) = (shape.inputs(), shape.outputs(), shape.groups());
        return ConvGeometry::new([rows, columns], inputs, outputs, groups).unwrap_or(shape);
    }
    shape
}

/// What a step is that may be of a chain.
struct Parts<'a> {
    plan: &'a ConvPlan,
    then: &'a [Then],
    input: Buffer,
}

impl Parts<'_> {
    fn of(step: &Step) -> Option<Parts<'_>> {
        match &step.action {
            Action::Conv { plan, input, then, .. } if plan.can_run_by_rows() => {
                Some(Parts { plan, then, input: *input })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use derm_kernels::{ConvCall, Isa, PackedConv, Precision, SharedOutput, Unary, Window};
    use proptest::prelude::*;

    fn numbers(count: usize) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(7);
        (0..count).map(|_| random.f32() - 0.5).collect()
    }

    /// A convolution and the rows and columns that it leaves.
    fn stage(
        [rows, columns]: [usize; 2],
        (kernel, stride): (usize, usize),
        [inputs, outputs]: [usize; 2],
        groups: usize,
    ) -> (Stage, [usize; 2]) {
        let axis = |input: usize| {
            let before = kernel / 2;
            let output = (input + 2 * before - kernel) / stride + 1;
            let window = Window { input, output, kernel, stride, dilation: 1, before };
            WindowAxis::new(window).unwrap()
        };
        let (rows, columns) = (axis(rows), axis(columns));
        let geometry = ConvGeometry::new([rows, columns], inputs, outputs, groups).unwrap();
        let weights = numbers(geometry.weights());
        let weight = |o: usize, i: usize, tap: usize| {
            weights[(o * geometry.depth() + i) * geometry.taps() + tap]
        };
        let conv = PackedConv::new(Isa::best(), Precision::F16, &geometry, None, weight);
        let plan = ConvPlan::by_rows(conv, &geometry);
        let then = vec![Then::Activate(Unary::Clamp(0.0, 6.0))];
        (Stage { plan, then, kept: 0 }, [rows.output(), columns.output()])
    }

    proptest! {
        #[test]
        fn a_chain_is_its_convolutions_one_after_the_other(
            rows in 5usize..40, columns in 60usize..90, kernel in prop::sample::select(vec![1, 3, 5]),
            stride in 1usize..3, first in prop::sample::select(vec![1, 3]), wide in 20usize..80,
            cut in 0usize..20,
        ) {
            let (a, axes) = stage([rows, columns], (first, 1), [3, wide], 1);
            let (b, axes) = stage(axes, (kernel, stride), [wide, wide], wide);
            let (c, _) = stage(axes, (1, 1), [wide, 9], 1);
            let input = numbers(a.plan.geometry().input_len());
            let epilogue = [Epilogue::Unary(Unary::Clamp(0.0, 6.0))];
            let mut whole = input.clone();
            for Stage { plan, .. } in [&a, &b, &c] {
                let plan = ConvPlan::new(plan.weights().clone(), plan.geometry());
                let mut values = vec![f32::NAN; plan.geometry().output_len()];
                let mut scratch = vec![f32::NAN; plan.scratch_len()];
                let (output, scratch) = (OutputPart::whole(&mut values), &mut scratch);
                plan.run(ConvCall { input: &whole, output, epilogue: &epilogue, scratch });
                whole = values;
            }
            let Some(chain) = Chain::planned(vec![a, b, c]) else { return Err(TestCaseError::reject("too few places")) };
            let mut output = vec![f32::NAN; whole.len()];
            let mut scratch = vec![f32::NAN; chain.scratch()];
            let cut = cut.min(chain.units());
            for part in [0..cut, cut..chain.units()] {
                let shared = SharedOutput::new(&mut output);
                // SAFETY: one part is in use at a time.
                let output = unsafe { shared.part(part) };
                chain.run_part(&input, output, &epilogue, &mut scratch);
            }
            for (found, expected) in output.iter().zip(&whole) {
                prop_assert!((found - expected).abs() < 1e-4, "{} instead of {}", found, expected);
            }
        }
    }
}
