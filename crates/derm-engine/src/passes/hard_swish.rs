//! Hard swish: finds x clamp(x / 6 + 1/2, 0, 1) where a graph computes it in several steps (ONNX has no operator
//! for it before version 14, but `HardSigmoid` and `Mul`), and makes one step of it, which can be folded.

use crate::program::{Binary, BufferId, DefUse, Op, Operand, Program, Unary};
use derm_kernels::{BinaryOp, BroadcastAxis, Unary as Function};

/// How far a number may be from the one that the definition has: files have 1/6 in float32.
const TOLERANCE: f32 = 1e-6;

/// Makes one step of each hard swish. The steps of its hard sigmoid go, if nobody else reads them.
pub(crate) fn recognise(program: &mut Program) {
    let def_use = DefUse::of(program);
    let mut is_needed = vec![true; program.steps.len()];
    for index in 0..program.steps.len() {
        let Op::Binary(product) = &program.steps[index].op else { continue };
        let Some([left, right]) = factors(product) else { continue };
        let found = [(left, right), (right, left)]
            .into_iter()
            .find_map(|(x, gate)| Some((x, hard_sigmoid(x, gate, program, &def_use)?)));
        let Some((input, gate)) = found else { continue };
        gate.into_iter().for_each(|step| is_needed[step] = false);
        program.steps[index].op = Unary { function: Function::HardSwish, input }.into();
    }
    let mut is_needed = is_needed.into_iter();
    program.steps.retain(|_| is_needed.next().unwrap_or(true));
}

/// The operands of a product of two buffers, value by value.
fn factors(product: &Binary) -> Option<[BufferId; 2]> {
    let [BroadcastAxis { left: 1, right: 1, .. }] = product.axes[..] else { return None };
    match (product.op, &product.left, &product.right) {
        (BinaryOp::Mul, Operand::Buffer(left), Operand::Buffer(right)) => Some([*left, *right]),
        _ => None,
    }
}

/// The steps that compute `gate`, which nobody else reads, if that is the hard sigmoid of `x`.
fn hard_sigmoid(
    x: BufferId,
    gate: BufferId,
    program: &Program,
    def_use: &DefUse,
) -> Option<Vec<usize>> {
    let (mut steps, mut functions) = (Vec::new(), Vec::new());
    let mut value = gate;
    while value != x {
        let writer = def_use.private_writer(value)?;
        let Op::Unary(unary) = &program.steps[writer].op else { return None };
        steps.push(writer);
        functions.push(unary.function);
        value = unary.input;
    }
    let mut gate =
        ClampedLine { slope: 1.0, offset: 0.0, low: f32::NEG_INFINITY, high: f32::INFINITY };
    for function in functions.into_iter().rev() {
        gate = gate.then(function)?;
    }
    gate.is_hard_sigmoid().then_some(steps)
}

/// Clamped line: clamp(slope x + offset, low, high), with a slope above 0.
#[derive(Debug, Clone, Copy)]
struct ClampedLine {
    slope: f32,
    offset: f32,
    low: f32,
    high: f32,
}

impl ClampedLine {
    /// With a function of its values; `None` where that is no such line.
    fn then(self, function: Function) -> Option<ClampedLine> {
        let ClampedLine { slope, offset, low, high } = self;
        match function {
            Function::Linear(scale, more) if scale > 0.0 => {
                let of = |value: f32| value * scale + more;
                let (offset, low, high) = (of(offset), of(low), of(high));
                Some(ClampedLine { slope: slope * scale, offset, low, high })
            }
            Function::Clamp(least, most) if least <= most => {
                let within = |value: f32| value.max(least).min(most);
                Some(ClampedLine { slope, offset, low: within(low), high: within(high) })
            }
            _ => None,
        }
    }

    /// Hard sigmoid: whether this is clamp(x / 6 + 1/2, 0, 1), which is 0 up to -3 and 1 from 3 on.
    fn is_hard_sigmoid(self) -> bool {
        let ClampedLine { slope, offset, low, high } = self;
        [(slope, 1.0 / 6.0), (offset, 0.5), (low, 0.0), (high, 1.0)]
            .into_iter()
            .all(|(found, defined)| (found - defined).abs() <= TOLERANCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Step;

    /// The functions one after the other, and the product of what comes out and the input.
    fn gated(functions: &[Function], is_read_twice: bool) -> Program {
        let mut program = Program::default();
        let x = program.add_buffer(8);
        program.inputs = vec![x];
        let step = |op, output| Step { name: String::new(), op, output, phase: 0 };
        let mut gate = x;
        for &function in functions {
            let next = program.add_buffer(8);
            program.steps.push(step(Unary { function, input: gate }.into(), next));
            gate = next;
        }
        let axes = vec![BroadcastAxis { length: 8, left: 1, right: 1 }];
        let (left, right) = (Operand::Buffer(gate), Operand::Buffer(x));
        let output = program.add_buffer(8);
        let product = Binary { op: BinaryOp::Mul, axes, left, right };
        program.steps.push(step(product.into(), output));
        program.outputs = if is_read_twice { vec![output, gate] } else { vec![output] };
        program
    }

    fn is_recognised(functions: &[Function], is_read_twice: bool) -> bool {
        let mut program = gated(functions, is_read_twice);
        recognise(&mut program);
        let found = matches!(
            &program.steps[..],
            [Step { op: Op::Unary(Unary { function: Function::HardSwish, input }), .. }]
                if *input == program.inputs[0]
        );
        assert!(found || program.steps.len() == functions.len() + 1, "all of it or nothing");
        found
    }

    #[test]
    fn hard_swish_is_recognised_in_each_form_and_nothing_else() {
        use Function::{Clamp, Linear, Sigmoid};
        const INFINITY: f32 = f32::INFINITY;
        let (least, most) = (Clamp(0.0, INFINITY), Clamp(-INFINITY, 1.0));
        // HardSigmoid(alpha, beta); relu6(x + 3) / 6.
        let hard_sigmoid = [Linear(1.0 / 6.0, 0.0), Linear(1.0, 0.5), least, most];
        let relu6 = [Linear(1.0, 3.0), Clamp(0.0, 6.0), Linear(1.0 / 6.0, 0.0)];
        assert!(is_recognised(&hard_sigmoid, false));
        assert!(is_recognised(&relu6, false));
        assert!(!is_recognised(&hard_sigmoid, true), "somebody else reads the hard sigmoid");
        assert!(!is_recognised(&hard_sigmoid[..3], false), "no upper bound");
        assert!(!is_recognised(&[Linear(0.2, 0.5), Clamp(0.0, 1.0)], false), "another slope");
        assert!(!is_recognised(&[Linear(-1.0 / 6.0, 0.5), Clamp(0.0, 1.0)], false));
        assert!(!is_recognised(&[Sigmoid], false));
        assert!(!is_recognised(&[], false), "a square");
    }
}
