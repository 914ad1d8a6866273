//! What the engine does, one operation after the other.

use crate::arena::open;
use crate::chain::Chain;
use crate::workers::Team;
use derm_kernels::{
    BinaryOp, BroadcastAxis, ConvCall, ConvGeometry, ConvPlan, Epilogue, Isa, OutputPart,
    PackedConv, PoolGeometry, Pooling, Precision, Reduction, SharedOutput, Unary,
};
use std::ops::Range;
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::TractErrorContext;
use tract_onnx::tract_core::ops::TypedOp;

/// Number of a buffer.
pub(crate) type Buffer = usize;

/// What a step reads.
#[derive(Debug, Clone)]
pub(crate) enum Operand {
    Buffer(Buffer),
    Constant(Arc<[f32]>),
}

/// What follows on a convolution's sums.
#[derive(Debug, Clone)]
pub(crate) enum Then {
    Activate(Unary),
    Add(Buffer),
    Differentiate(Unary, Buffer),
}

impl Then {
    /// The function it is, of each value by itself.
    pub(crate) fn function(&self) -> Option<Unary> {
        match self {
            Then::Activate(activation) => Some(*activation),
            Then::Add(_) | Then::Differentiate(..) => None,
        }
    }

    /// The buffer it reads.
    fn buffer(&self) -> Option<Buffer> {
        match self {
            Then::Add(buffer) | Then::Differentiate(_, buffer) => Some(*buffer),
            Then::Activate(_) => None,
        }
    }
}

/// An operation on buffers.
#[derive(Debug)]
pub(crate) enum Action {
    Conv {
        plan: ConvPlan,
        input: Buffer,
        then: Vec<Then>,
        scratch: Buffer,
    },
    /// Convolutions, a few rows at a time.
    Chain {
        chain: Chain,
        input: Buffer,
        scratch: Buffer,
    },
    /// In place where input and output are one buffer.
    Activate {
        activation: Unary,
        input: Buffer,
    },
    /// Gradients times the derivative at the values; in place where gradients and output are one.
    Differentiate {
        activation: Unary,
        values: Buffer,
        gradients: Buffer,
    },
    /// In place where an operand and the output are one buffer.
    Binary {
        op: BinaryOp,
        axes: Vec<BroadcastAxis>,
        left: Operand,
        right: Operand,
    },
    Pool {
        pooling: Pooling,
        shape: PoolGeometry,
        input: Buffer,
    },
    /// The input's gradient of a pooling; `values`, its input, for a maximum only.
    PoolGradient {
        pooling: Pooling,
        shape: PoolGeometry,
        values: Option<Buffer>,
        gradients: Buffer,
    },
    Reduce {
        reduction: Reduction,
        sides: [usize; 3],
        input: Buffer,
    },
    Softmax {
        width: usize,
        input: Buffer,
    },
    RmsNorm {
        width: usize,
        epsilon: f32,
        input: Buffer,
    },
    Transpose {
        shape: Vec<usize>,
        order: Vec<usize>,
        input: Buffer,
    },
    /// Blocks `[a, b, chunk]` from and to where they lie; nothing else of the output is touched.
    Copy {
        input: Operand,
        sides: [usize; 3],
        from: (usize, [usize; 2]),
        to: (usize, [usize; 2]),
    },
    Fill {
        value: f32,
    },
    /// `count` products of `[m, k]` and `[k, n]` (or `[n, k]`).
    Product {
        count: usize,
        left: Buffer,
        right: Buffer,
        geometry: ConvGeometry,
        right_is_kn: bool,
    },
    /// Whatever tract does, on copies.
    Foreign {
        op: Box<dyn TypedOp>,
        operands: Vec<ForeignOperand>,
        outputs: Vec<ForeignOutput>,
    },
}

impl Action {
    /// What it does, in words, and the floating-point operations of a convolution or product.
    pub(crate) fn work(&self) -> (String, usize) {
        match self {
            Action::Conv { plan, .. } => (plan.to_string(), plan.flops()),
            Action::Chain { chain, .. } => {
                let works =
                    chain.stages.iter().map(|stage| (stage.plan.to_string(), stage.plan.flops()));
                let (names, flops): (Vec<String>, Vec<usize>) = works.unzip();
                (names.join(", "), flops.iter().sum())
            }
            Action::Product { count, geometry, .. } => {
                let (m, k) = (geometry.columns().output(), geometry.inputs());
                let n = geometry.outputs();
                (format!("product of values {m}x{k}x{n}"), count * geometry.flops())
            }
            Action::Activate { .. } => ("activation".to_owned(), 0),
            Action::Differentiate { .. } => ("derivative".to_owned(), 0),
            Action::Binary { op, .. } => (format!("{op:?}"), 0),
            Action::Pool { .. } => ("pooling".to_owned(), 0),
            Action::PoolGradient { .. } => ("pooling's gradient".to_owned(), 0),
            Action::Reduce { .. } => ("reduction".to_owned(), 0),
            Action::Softmax { .. } => ("softmax".to_owned(), 0),
            Action::RmsNorm { .. } => ("normalisation".to_owned(), 0),
            Action::Transpose { .. } => ("transposition".to_owned(), 0),
            Action::Copy { .. } | Action::Fill { .. } => ("copy".to_owned(), 0),
            Action::Foreign { op, .. } => (format!("tract's {}", op.name()), 0),
        }
    }
}

/// What a foreign operation reads.
#[derive(Debug)]
pub(crate) enum ForeignOperand {
    Constant(Arc<Tensor>),
    Buffer(Buffer, Vec<usize>),
    /// A value that is not float32.
    Side(usize),
}

/// Where a foreign operation's results go.
#[derive(Debug)]
pub(crate) enum ForeignOutput {
    Buffer(Buffer),
    Side(usize),
}

/// An action, and the buffer that it writes.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) action: Action,
    pub(crate) output: Buffer,
}

impl Step {
    /// The buffers it needs, the output among them.
    pub(crate) fn buffers(&self) -> Vec<Buffer> {
        let mut found = vec![self.output];
        let mut operand = |operand: &Operand| {
            if let Operand::Buffer(buffer) = operand {
                found.push(*buffer);
            }
        };
        match &self.action {
            Action::Conv { input, then, scratch, .. } => {
                found.extend([*input, *scratch]);
                found.extend(then.iter().filter_map(Then::buffer));
            }
            Action::Chain { chain, input, scratch } => {
                found.extend([*input, *scratch]);
                found.extend(chain.last().then.iter().filter_map(Then::buffer));
            }
            Action::Binary { left, right, .. } => {
                operand(left);
                operand(right);
            }
            Action::Copy { input, .. } => operand(input),
            Action::Differentiate { values, gradients, .. } => found.extend([*values, *gradients]),
            Action::PoolGradient { values, gradients, .. } => {
                found.push(*gradients);
                found.extend(*values);
            }
            Action::Activate { input, .. }
            | Action::Pool { input, .. }
            | Action::Reduce { input, .. }
            | Action::Softmax { input, .. }
            | Action::RmsNorm { input, .. }
            | Action::Transpose { input, .. } => found.push(*input),
            Action::Product { left, right, .. } => found.extend([*left, *right]),
            Action::Fill { .. } => {}
            Action::Foreign { operands, outputs, .. } => {
                found.extend(operands.iter().filter_map(|operand| match operand {
                    ForeignOperand::Buffer(buffer, _) => Some(*buffer),
                    _ => None,
                }));
                found.extend(outputs.iter().filter_map(|output| match output {
                    ForeignOutput::Buffer(buffer) => Some(*buffer),
                    ForeignOutput::Side(_) => None,
                }));
            }
        }
        found
    }

    /// The operands that the output may take the place of, if it is as large.
    pub(crate) fn replaceable(&self) -> Vec<Buffer> {
        match &self.action {
            Action::Activate { input, .. }
            | Action::Softmax { input, .. }
            | Action::RmsNorm { input, .. } => vec![*input],
            Action::Differentiate { gradients, .. } => vec![*gradients],
            Action::Binary { left, right, .. } => [left, right]
                .into_iter()
                .filter_map(|operand| match operand {
                    Operand::Buffer(buffer) => Some(*buffer),
                    Operand::Constant(_) => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Does it.
    pub(crate) fn run(
        &self,
        isa: Isa,
        team: &Team<'_>,
        ranges: &[Range<usize>],
        arena: &mut [f32],
        side: &mut [Option<TValue>],
    ) -> TractResult<()> {
        let range = |buffer: Buffer| ranges[buffer].clone();
        let to = range(self.output);
        match &self.action {
            Action::Conv { plan, input, then, scratch } => {
                let buffers = [to, range(*input), range(*scratch)];
                with_epilogue(arena, buffers, then, range, |input, output, epilogue, scratch| {
                    team.share(plan.units(), scratch, |part, scratch| {
                        // SAFETY: `share` gives each unit to one thread, and all run this plan.
                        let output = unsafe { output.part(part) };
                        plan.run(ConvCall { input, output, epilogue, scratch });
                    });
                });
            }
            Action::Chain { chain, input, scratch } => {
                let buffers = [to, range(*input), range(*scratch)];
                let then = &chain.last().then;
                with_epilogue(arena, buffers, then, range, |input, output, epilogue, scratch| {
                    team.share(chain.units(), scratch, |part, scratch| {
                        // SAFETY: `share` gives each unit to one thread, and all run this chain, whose
                        // last plan's units are the rows.
                        let output = unsafe { output.part(part) };
                        chain.run_part(input, output, epilogue, scratch);
                    });
                });
            }
            Action::Activate { activation, input } => {
                let output = moved(arena, range(*input), to);
                activation.apply(isa, output);
            }
            Action::Differentiate { activation, values, gradients } => {
                moved(arena, range(*gradients), to.clone());
                let ([output], reads) = open(arena, [to], &[range(*values)]);
                activation.multiply_by_derivative(isa, reads[0], output);
            }
            Action::Softmax { width, input } => {
                let output = moved(arena, range(*input), to);
                derm_kernels::softmax(isa, *width, output);
            }
            Action::RmsNorm { width, epsilon, input } => {
                let output = moved(arena, range(*input), to);
                derm_kernels::rms_norm(isa, *width, *epsilon, output);
            }
            Action::Binary { op, axes, left, right } => {
                binary(
                    isa,
                    *op,
                    axes,
                    [left, right].map(|operand| operand.place(ranges)),
                    to,
                    arena,
                );
            }
            Action::Pool { pooling, shape, input } => {
                let ([output], reads) = open(arena, [to], &[range(*input)]);
                derm_kernels::pool(isa, *pooling, shape, reads[0], output);
            }
            Action::PoolGradient { pooling, shape, values, gradients } => {
                let mut reads = vec![range(*gradients)];
                reads.extend(values.map(range));
                let ([output], reads) = open(arena, [to], &reads);
                let values = reads.get(1).copied().unwrap_or_default();
                derm_kernels::pool_gradient(*pooling, shape, values, reads[0], output);
            }
            Action::Reduce { reduction, sides, input } => {
                let ([output], reads) = open(arena, [to], &[range(*input)]);
                derm_kernels::reduce(isa, *reduction, *sides, reads[0], output);
            }
            Action::Transpose { shape, order, input } => {
                let ([output], reads) = open(arena, [to], &[range(*input)]);
                derm_kernels::transpose(shape, order, reads[0], output);
            }
            Action::Copy { input, sides, from, to: into } => match input {
                Operand::Buffer(input) => {
                    let ([output], reads) = open(arena, [to], &[range(*input)]);
                    copy(reads[0], output, *sides, *from, *into);
                }
                Operand::Constant(values) => copy(values, &mut arena[to], *sides, *from, *into),
            },
            Action::Fill { value } => arena[to].fill(*value),
            Action::Product { left, right, geometry, right_is_kn, .. } => {
                let ([output], reads) = open(arena, [to], &[range(*left), range(*right)]);
                product(isa, team, geometry, reads[0], (reads[1], *right_is_kn), output);
            }
            Action::Foreign { op, operands, outputs } => {
                let operands = operands
                    .iter()
                    .map(|operand| operand.value(ranges, arena, side))
                    .collect::<TractResult<TVec<TValue>>>()?;
                let results = op.eval_out_of_plan(operands).with_context(|| self.name.clone())?;
                let results = results.context("it cannot be evaluated by itself")?;
                for (result, output) in results.into_iter().zip(outputs) {
                    match output {
                        ForeignOutput::Side(slot) => side[*slot] = Some(result),
                        ForeignOutput::Buffer(buffer) => {
                            let view = result.to_plain_array_view::<f32>()?;
                            let to = &mut arena[range(*buffer)];
                            to.iter_mut().zip(view).for_each(|(to, from)| *to = *from);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl Operand {
    fn place(&self, ranges: &[Range<usize>]) -> Place<'_> {
        match self {
            Operand::Buffer(buffer) => Place::Arena(ranges[*buffer].clone()),
            Operand::Constant(values) => Place::Constant(values),
        }
    }
}

enum Place<'a> {
    Arena(Range<usize>),
    Constant(&'a [f32]),
}

impl ForeignOperand {
    /// Bytes of a constant.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            ForeignOperand::Constant(tensor) => tensor.len() * tensor.datum_type().size_of(),
            _ => 0,
        }
    }

    fn value(
        &self,
        ranges: &[Range<usize>],
        arena: &[f32],
        side: &[Option<TValue>],
    ) -> TractResult<TValue> {
        Ok(match self {
            ForeignOperand::Constant(tensor) => Arc::clone(tensor).into_tvalue(),
            ForeignOperand::Buffer(buffer, shape) => {
                Tensor::from_shape(shape, &arena[ranges[*buffer].clone()])?.into_tvalue()
            }
            ForeignOperand::Side(slot) => {
                side[*slot].clone().context("a value is read before it is made")?
            }
        })
    }
}

/// The output's slice, holding what the input holds.
fn moved(arena: &mut [f32], from: Range<usize>, to: Range<usize>) -> &mut [f32] {
    if from != to {
        arena.copy_within(from, to.start);
    }
    &mut arena[to]
}

fn binary(
    isa: Isa,
    op: BinaryOp,
    axes: &[BroadcastAxis],
    [left, right]: [Place<'_>; 2],
    to: Range<usize>,
    arena: &mut [f32],
) {
    let mut reads = Vec::new();
    for place in [&left, &right] {
        if let Place::Arena(range) = place
            && *range != to
        {
            reads.push(range.clone());
        }
    }
    let ([output], reads) = open(arena, [to.clone()], &reads);
    let mut reads = reads.into_iter();
    // None is the output itself.
    let mut slice = |place| match place {
        Place::Constant(values) => Some(values),
        Place::Arena(range) if range == to => None,
        Place::Arena(_) => reads.next(),
    };
    let (left, right) = (slice(left), slice(right));
    derm_kernels::binary(isa, op, axes, left, right, output);
}

fn copy(
    input: &[f32],
    output: &mut [f32],
    [a, b, chunk]: [usize; 3],
    (from, from_steps): (usize, [usize; 2]),
    (to, to_steps): (usize, [usize; 2]),
) {
    for i in 0..a {
        for j in 0..b {
            let from = from + i * from_steps[0] + j * from_steps[1];
            let to = to + i * to_steps[0] + j * to_steps[1];
            output[to..to + chunk].copy_from_slice(&input[from..from + chunk]);
        }
    }
}

/// Opens the arena for a convolution's output, input and scratch, and the operands of its epilogue.
fn with_epilogue(
    arena: &mut [f32],
    [output, input, scratch]: [Range<usize>; 3],
    then: &[Then],
    range: impl Fn(Buffer) -> Range<usize>,
    run: impl FnOnce(&[f32], &SharedOutput<'_>, &[Epilogue<'_>], &mut [f32]),
) {
    let mut reads = vec![input];
    reads.extend(then.iter().filter_map(Then::buffer).map(range));
    let ([output, scratch], reads) = open(arena, [output, scratch], &reads);
    let mut others = reads[1..].iter();
    let mut other = || *others.next().expect("one for each that reads");
    let epilogue: Vec<Epilogue<'_>> = then
        .iter()
        .map(|then| match then {
            Then::Activate(function) => Epilogue::Unary(*function),
            Then::Add(_) => Epilogue::Add(other()),
            Then::Differentiate(function, _) => Epilogue::MultiplyByDerivative(*function, other()),
        })
        .collect();
    run(reads[0], &SharedOutput::new(output), &epilogue, scratch);
}

fn product(
    isa: Isa,
    team: &Team<'_>,
    geometry: &ConvGeometry,
    left: &[f32],
    (right, right_is_kn): (&[f32], bool),
    output: &mut [f32],
) {
    let (m, k, n) = (geometry.columns().output(), geometry.inputs(), geometry.outputs());
    let blocks: Vec<&mut [f32]> = output.chunks_mut(m * n).collect();
    team.share_each(blocks, |number, output| {
        let left = &left[number * m * k..][..m * k];
        let right = &right[number * k * n..][..k * n];
        let weight = |o: usize, i: usize, _| right[if right_is_kn { i * n + o } else { o * k + i }];
        let packed = PackedConv::new(isa, Precision::F32, geometry, None, weight);
        let plan = ConvPlan::new(packed, geometry);
        let mut scratch = vec![0.0; plan.scratch_len()];
        let output = OutputPart::whole(output);
        plan.run(ConvCall { input: left, output, epilogue: &[], scratch: &mut scratch });
    });
}
