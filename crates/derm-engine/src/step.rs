//! What the engine does, one operation after the other.

use crate::arena::open;
use crate::chain::Chain;
use crate::workers::{SharedOutput, Team};
use derm_kernels::{
    Activation, After, BinaryOp, BroadcastAxis, ConvShape, Depthwise, Isa, PackedConv, PoolShape,
    Pooling, Precision, Reduction, Ring,
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
    Activate(Activation),
    Add(Buffer),
    Differentiate(Activation, Buffer),
}

impl Then {
    /// The function it is, of each value by itself.
    pub(crate) fn function(&self) -> Option<Activation> {
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

/// The weights of a convolution; clones share them.
#[derive(Debug, Clone)]
pub(crate) enum Kernel {
    Dense(PackedConv),
    Depthwise(Depthwise),
}

impl Kernel {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Kernel::Dense(conv) => conv.bytes(),
            Kernel::Depthwise(conv) => conv.bytes(),
        }
    }

    /// The same for all that share their weights.
    pub(crate) fn identity(&self) -> usize {
        match self {
            Kernel::Dense(conv) => conv.identity(),
            Kernel::Depthwise(conv) => conv.identity(),
        }
    }

    /// The same weights with another bias.
    pub(crate) fn with_bias(self, bias: Option<&[f32]>) -> Kernel {
        match self {
            Kernel::Dense(conv) => Kernel::Dense(conv.with_bias(bias)),
            Kernel::Depthwise(conv) => Kernel::Depthwise(conv.with_bias(bias)),
        }
    }

    pub(crate) fn add_bias(&mut self, more: &[f32]) {
        match self {
            Kernel::Dense(conv) => conv.add_bias(more),
            Kernel::Depthwise(conv) => conv.add_bias(more),
        }
    }

    /// For the input's gradient; `shape` is the forward one.
    pub(crate) fn turned(&self, shape: &ConvShape) -> Option<Kernel> {
        Some(match self {
            Kernel::Dense(conv) => Kernel::Dense(conv.turned(shape)?),
            Kernel::Depthwise(conv) => Kernel::Depthwise(conv.turned()),
        })
    }

    /// # Safety
    /// As for [`PackedConv::run_part`].
    pub(crate) unsafe fn run_part(
        &self,
        shape: &ConvShape,
        input: &[f32],
        output: *mut f32,
        after: &[After<'_>],
        scratch: &mut [f32],
        part: Range<usize>,
    ) {
        // SAFETY: the caller's contract.
        unsafe {
            match self {
                Kernel::Dense(conv) => conv.run_part(shape, input, output, after, scratch, part),
                Kernel::Depthwise(conv) => {
                    conv.run_part(shape, input, output, after, scratch, part)
                }
            }
        }
    }

    /// # Safety
    /// As for [`PackedConv::run_rows`].
    pub(crate) unsafe fn run_rows(
        &self,
        shape: &ConvShape,
        input: Ring<&[f32]>,
        output: Ring<*mut f32>,
        after: &[After<'_>],
        scratch: &mut [f32],
        rows: Range<usize>,
    ) {
        // SAFETY: the caller's contract.
        unsafe {
            match self {
                Kernel::Dense(conv) => conv.run_rows(shape, input, output, after, scratch, rows),
                Kernel::Depthwise(conv) => {
                    conv.run_rows(shape, input, output, after, scratch, rows)
                }
            }
        }
    }

    pub(crate) fn units(&self, shape: &ConvShape) -> usize {
        match self {
            Kernel::Dense(conv) => conv.units(shape),
            Kernel::Depthwise(_) => shape.rows.output,
        }
    }

    /// What it does, in words, and floating-point operations.
    fn work(&self, shape: &ConvShape) -> (String, usize) {
        let ConvShape { rows, columns, inputs, outputs, groups } = shape;
        let window = rows.kernel * columns.kernel;
        let flops = 2 * shape.output_len() * window * (inputs / groups);
        let name = match self {
            Kernel::Depthwise(_) => "depthwise",
            Kernel::Dense(_) if window == 1 => "product",
            Kernel::Dense(conv) if conv.is_winograd(shape) => "Winograd",
            Kernel::Dense(_) => "convolution",
        };
        let places = rows.output * columns.output;
        let (r, c, stride) = (rows.kernel, columns.kernel, rows.stride);
        (format!("{name} {r}x{c}/{stride} {inputs}>{outputs} at {places}"), flops)
    }

    /// Scratch for one thread, in whole cache lines.
    pub(crate) fn scratch(&self, shape: &ConvShape) -> usize {
        match self {
            Kernel::Dense(conv) => conv.scratch(shape),
            Kernel::Depthwise(conv) => conv.scratch(),
        }
        .next_multiple_of(16)
    }

    /// As [`Kernel::scratch`], for some rows at a time.
    pub(crate) fn scratch_of_rows(&self) -> usize {
        match self {
            Kernel::Dense(conv) => conv.scratch_of_rows(),
            Kernel::Depthwise(conv) => conv.scratch(),
        }
    }

    /// Whether some rows at a time cost about what all together do.
    pub(crate) fn runs_by_rows(&self, shape: &ConvShape) -> bool {
        match self {
            Kernel::Dense(conv) => !conv.is_winograd(shape) && !conv.is_turned(),
            Kernel::Depthwise(_) => true,
        }
    }
}

/// An operation on buffers.
#[derive(Debug)]
pub(crate) enum Action {
    Conv {
        kernel: Kernel,
        shape: ConvShape,
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
        activation: Activation,
        input: Buffer,
    },
    /// Gradients times the derivative at the values; in place where gradients and output are one.
    Differentiate {
        activation: Activation,
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
        shape: PoolShape,
        input: Buffer,
    },
    /// The input's gradient of a pooling; `values`, its input, for a maximum only.
    PoolGradient {
        pooling: Pooling,
        shape: PoolShape,
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
        sides: [usize; 3],
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
            Action::Conv { kernel, shape, .. } => kernel.work(shape),
            Action::Chain { chain, .. } => {
                let works = chain.stages.iter().map(|stage| stage.kernel.work(&stage.shape));
                let (names, flops): (Vec<String>, Vec<usize>) = works.unzip();
                (names.join(", "), flops.iter().sum())
            }
            Action::Product { count, sides: [m, k, n], .. } => {
                (format!("product of values {m}x{k}x{n}"), 2 * count * m * k * n)
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
            Action::Conv { kernel, shape, input, then, scratch } => {
                let buffers = [to, range(*input), range(*scratch)];
                with_after(arena, buffers, then, range, |input, output, after, scratch| {
                    team.share(kernel.units(shape), scratch, |part, scratch| {
                        let output = output.get();
                        // SAFETY: `share` gives each unit to one thread, and the output is ours alone.
                        unsafe { kernel.run_part(shape, input, output, after, scratch, part) };
                    });
                });
            }
            Action::Chain { chain, input, scratch } => {
                let buffers = [to, range(*input), range(*scratch)];
                let then = &chain.last().then;
                with_after(arena, buffers, then, range, |input, output, after, scratch| {
                    team.share(chain.units(), scratch, |part, scratch| {
                        // SAFETY: as above.
                        unsafe { chain.run_part(input, output.get(), after, scratch, part) };
                    });
                });
            }
            Action::Activate { activation, input } => {
                let output = moved(arena, range(*input), to);
                derm_kernels::activate(isa, *activation, output);
            }
            Action::Differentiate { activation, values, gradients } => {
                moved(arena, range(*gradients), to.clone());
                let ([output], reads) = open(arena, [to], &[range(*values)]);
                derm_kernels::differentiate(isa, *activation, reads[0], output);
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
            Action::Product { left, right, sides, right_is_kn, .. } => {
                let ([output], reads) = open(arena, [to], &[range(*left), range(*right)]);
                product(isa, team, *sides, reads[0], (reads[1], *right_is_kn), output);
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

/// Opens the arena for a convolution's output, input and scratch, and what follows on its sums.
fn with_after(
    arena: &mut [f32],
    [output, input, scratch]: [Range<usize>; 3],
    then: &[Then],
    range: impl Fn(Buffer) -> Range<usize>,
    run: impl FnOnce(&[f32], &SharedOutput, &[After<'_>], &mut [f32]),
) {
    let mut reads = vec![input];
    reads.extend(then.iter().filter_map(Then::buffer).map(range));
    let ([output, scratch], reads) = open(arena, [output, scratch], &reads);
    let mut others = reads[1..].iter();
    let mut other = || *others.next().expect("one for each that reads");
    let after: Vec<After<'_>> = then
        .iter()
        .map(|then| match then {
            Then::Activate(activation) => After::Activate(*activation),
            Then::Add(_) => After::Add(other()),
            Then::Differentiate(activation, _) => After::Differentiate(*activation, other()),
        })
        .collect();
    run(reads[0], &SharedOutput(output.as_mut_ptr()), &after, scratch);
}

fn product(
    isa: Isa,
    team: &Team<'_>,
    [m, k, n]: [usize; 3],
    left: &[f32],
    (right, right_is_kn): (&[f32], bool),
    output: &mut [f32],
) {
    let shape = ConvShape::product(m, k, n);
    let blocks: Vec<&mut [f32]> = output.chunks_mut(m * n).collect();
    team.share_each(blocks, |number, output| {
        let left = &left[number * m * k..][..m * k];
        let right = &right[number * k * n..][..k * n];
        let weight = |o: usize, i: usize, _| right[if right_is_kn { i * n + o } else { o * k + i }];
        let packed = PackedConv::new(isa, Precision::F32, &shape, None, weight);
        let mut scratch = vec![0.0; packed.scratch(&shape)];
        packed.run(&shape, left, output, &[], &mut scratch);
    });
}
