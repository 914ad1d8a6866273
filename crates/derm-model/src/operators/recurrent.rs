//! `LSTM`, `GRU`, `RNN`: what tract leaves out of them is refused, and sequences that are read from
//! their end are turned around.

use super::body::{self, Call};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

/// Reads a recurrent operator.
///
/// # Errors
/// If it has other activation functions than the standard's default, or a limit on their operands.
pub(super) fn read(context: &ParsingContext<'_>, node: &NodeProto) -> super::Read {
    let default: &[&str] = match &*node.op_type {
        "LSTM" => &["sigmoid", "tanh", "tanh"],
        "GRU" => &["sigmoid", "tanh"],
        _ => &["tanh"],
    };
    let given = node.get_attr_opt_vec::<String>("activations")?.unwrap_or_default();
    let is_default = |(number, name): (usize, &String)| {
        name.eq_ignore_ascii_case(default[number % default.len()])
    };
    ensure!(given.iter().enumerate().all(is_default), "activations {given:?} are not supported");
    ensure!(node.get_attr_opt::<f32>("clip")?.unwrap_or(0.0) == 0.0, "clip is not supported");
    let couples = node.get_attr_opt::<i64>("input_forget")?.unwrap_or(0) != 0;
    ensure!(!couples, "input_forget is not supported");
    if node.get_attr_opt::<String>("direction")?.as_deref() == Some("reverse") {
        return body::read(context, node, backwards);
    }
    let own = context.framework.op_register.0.get(&format!("derm.{}", node.op_type));
    own.context("a recurrent operator")?(context, node)
}

/// Runs forwards over the sequence turned around.
fn backwards(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    ensure!(call.int("layout")?.unwrap_or(0) == 0, "layout is not supported");
    let operator = call.operator();
    let value = call.operand(0);
    let turned = turn(call, &value);
    let mut operands: Vec<String> = (0..8).map(|position| call.operand(position)).collect();
    operands[0] = turned;
    let mut results = call.forward(&format!("derm.{operator}"), &operands, &["direction"]);
    if call.wants(0) {
        results[0] = turn(call, &results[0].clone());
    }
    Ok(results)
}

/// Turns the first axis around.
fn turn(call: &mut Call<'_>, value: &str) -> String {
    let [start, end, axis, step] = [-1, i64::MIN, 0, -1].map(|number| call.put_ints(&[number]));
    call.put("Slice", &[value, &start, &end, &axis, &step], &[])
}
