//! Operations on 8-bit values: their buffers hold `u8`, signed values as `q + 128`.

use super::context::Reads;
use super::operation::{Operation, Resident, Work};
use super::{BufferId, RunContext};
use crate::RunError;
use crate::arena::CACHE_LINE;
use bytemuck::{cast_slice, cast_slice_mut};
use derm_kernels::{
    AddInt8, Int8Call, Int8Epilogue, Int8Plan, MulInt8, PoolGeometry, PoolingInt8, SharedOutput,
    Table,
};
use std::sync::Arc;

/// The first `count` bytes of a buffer of them.
fn bytes(words: &[f32], count: usize) -> &[u8] {
    &cast_slice(words)[..count]
}

/// As [`bytes`], to be written.
fn bytes_mut(words: &mut [f32], count: usize) -> &mut [u8] {
    &mut cast_slice_mut(words)[..count]
}

/// Integer convolution or matrix product, and its epilogue.
#[derive(Debug)]
pub(crate) struct Int8Conv {
    pub(crate) plan: Int8Plan,
    pub(crate) input: BufferId,
    pub(crate) epilogue: Vec<Int8EpilogueOp>,
}

/// One operation of an integer convolution's epilogue.
#[derive(Debug, Clone)]
pub(crate) enum Int8EpilogueOp {
    Table(Arc<Table>),
    /// Adds a buffer of the output's shape, which is the left operand or the right one.
    Add {
        add: AddInt8,
        other: BufferId,
        is_left: bool,
    },
}

impl Int8EpilogueOp {
    fn buffer(&self) -> Option<BufferId> {
        match self {
            Int8EpilogueOp::Table(_) => None,
            Int8EpilogueOp::Add { other, .. } => Some(*other),
        }
    }

    /// With its buffer opened, which has `count` values.
    fn open<'a>(&'a self, reads: &Reads<'a>, count: usize) -> Int8Epilogue<'a> {
        match self {
            Int8EpilogueOp::Table(table) => Int8Epilogue::Table(table),
            Int8EpilogueOp::Add { add, other, is_left } => {
                let other = bytes(reads.get(*other), count);
                Int8Epilogue::Add { add, other, is_left: *is_left }
            }
        }
    }
}

impl Operation for Int8Conv {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        visit(self.input);
        self.epilogue.iter().filter_map(Int8EpilogueOp::buffer).for_each(visit);
    }

    fn resident(&self, visit: &mut dyn FnMut(Resident)) {
        let weights = self.plan.weights();
        visit(Resident { identity: weights.identity(), bytes: weights.bytes() });
        let own = std::ptr::from_ref(&self.plan).addr();
        visit(Resident { identity: own, bytes: self.plan.own_bytes() });
    }

    fn scratch(&self, threads: usize) -> usize {
        let words = self.plan.scratch_len().div_ceil(size_of::<f32>());
        words.next_multiple_of(CACHE_LINE) * threads
    }

    fn work(&self) -> Work {
        Work::int8(self.plan.to_string(), self.plan.operations())
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let team = context.team;
        let (output, scratch, reads) = context.open();
        let geometry = self.plan.geometry();
        let count = geometry.output_len();
        let input = bytes(reads.get(self.input), geometry.input_len());
        let open = |op| Int8EpilogueOp::open(op, &reads, count);
        let epilogue: Vec<Int8Epilogue<'_>> = self.epilogue.iter().map(open).collect();
        let output = SharedOutput::new(bytes_mut(output, count));
        team.share(self.plan.units(), scratch, |units, scratch| {
            // SAFETY: `share` gives each unit to one thread, and all of them run this plan.
            let output = unsafe { output.part(units) };
            let scratch = cast_slice_mut(scratch);
            self.plan.run(Int8Call { input, output, epilogue: &epilogue, scratch });
        });
        Ok(())
    }
}

/// A function of each 8-bit value, as a table.
#[derive(Debug)]
pub(crate) struct Int8Table {
    pub(crate) table: Arc<Table>,
    pub(crate) input: BufferId,
    pub(crate) length: usize,
}

impl Operation for Int8Table {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        visit(self.input);
    }

    fn resident(&self, visit: &mut dyn FnMut(Resident)) {
        visit(Resident { identity: Arc::as_ptr(&self.table).addr(), bytes: 256 });
    }

    fn in_place(&self) -> [Option<BufferId>; 2] {
        [Some(self.input), None]
    }

    fn work(&self) -> Work {
        "int8 table".into()
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let output = bytes_mut(context.output_from(self.input), self.length);
        self.table.apply_in_place(output);
        Ok(())
    }
}

/// The sum of two 8-bit tensors of one shape.
#[derive(Debug)]
pub(crate) struct Int8Add {
    pub(crate) add: AddInt8,
    pub(crate) operands: [BufferId; 2],
    pub(crate) length: usize,
}

impl Operation for Int8Add {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        self.operands.into_iter().for_each(visit);
    }

    fn resident(&self, _visit: &mut dyn FnMut(Resident)) {}

    fn work(&self) -> Work {
        "int8 addition".into()
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let isa = context.isa;
        let (output, _, reads) = context.open();
        let [left, right] = self.operands.map(|operand| bytes(reads.get(operand), self.length));
        self.add.apply(isa, left, right, bytes_mut(output, self.length));
        Ok(())
    }
}

/// The product of an 8-bit tensor with one of its shape, or with a value for each channel.
#[derive(Debug)]
pub(crate) struct Int8Mul {
    pub(crate) mul: MulInt8,
    pub(crate) operands: [BufferId; 2],
    /// Values of each operand.
    pub(crate) lengths: [usize; 2],
}

impl Operation for Int8Mul {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        self.operands.into_iter().for_each(visit);
    }

    fn resident(&self, _visit: &mut dyn FnMut(Resident)) {}

    fn work(&self) -> Work {
        "int8 multiplication".into()
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let isa = context.isa;
        let (output, _, reads) = context.open();
        let [left, right] = [0, 1].map(|of| bytes(reads.get(self.operands[of]), self.lengths[of]));
        self.mul.apply(isa, left, right, bytes_mut(output, self.lengths[0]));
        Ok(())
    }
}

/// Pooling of 8-bit values.
#[derive(Debug)]
pub(crate) struct Int8Pool {
    pub(crate) pooling: PoolingInt8,
    pub(crate) geometry: PoolGeometry,
    pub(crate) input: BufferId,
}

impl Operation for Int8Pool {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        visit(self.input);
    }

    fn resident(&self, _visit: &mut dyn FnMut(Resident)) {}

    fn temporary(&self, _length: &dyn Fn(BufferId) -> usize, _threads: usize) -> usize {
        size_of::<i32>() * self.geometry.channels()
    }

    fn work(&self) -> Work {
        "int8 pooling".into()
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let isa = context.isa;
        let (output, input) = context.open_one(self.input);
        let input = bytes(input, self.geometry.input_len());
        let output = bytes_mut(output, self.geometry.output_len());
        derm_kernels::pool_int8(isa, &self.pooling, &self.geometry, input, output);
        Ok(())
    }
}

/// The way from 8-bit values to float32.
#[derive(Debug)]
pub(crate) struct Dequantize {
    pub(crate) scale: f32,
    pub(crate) zero_point: u8,
    pub(crate) input: BufferId,
}

impl Operation for Dequantize {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        visit(self.input);
    }

    fn resident(&self, _visit: &mut dyn FnMut(Resident)) {}

    fn work(&self) -> Work {
        "dequantisation".into()
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let isa = context.isa;
        let (output, input) = context.open_one(self.input);
        let input = bytes(input, output.len());
        derm_kernels::dequantize(isa, self.scale, self.zero_point, input, output);
        Ok(())
    }
}

/// The way from float32 to 8-bit values.
#[derive(Debug)]
pub(crate) struct Quantize {
    pub(crate) scale: f32,
    pub(crate) zero_point: u8,
    pub(crate) input: BufferId,
}

impl Operation for Quantize {
    fn reads(&self, visit: &mut dyn FnMut(BufferId)) {
        visit(self.input);
    }

    fn resident(&self, _visit: &mut dyn FnMut(Resident)) {}

    fn work(&self) -> Work {
        "quantisation".into()
    }

    fn run(&self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let isa = context.isa;
        let (output, input) = context.open_one(self.input);
        let output = bytes_mut(output, input.len());
        derm_kernels::quantize(isa, self.scale, self.zero_point, input, output);
        Ok(())
    }
}
