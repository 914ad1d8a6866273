//! The graph's output: the scores as `[1, classes]` of float32, whatever shape and type they have.

use crate::{Manifest, Output};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{ensure, tvec};
use tract_onnx::tract_core::ops::array::{Slice, TypedConcat};
use tract_onnx::tract_core::ops::cast::{Cast, cast};
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::identity::Identity;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Sigmoid, Softmax, SoftmaxKind, sigmoid};

/// Makes the first output `[1, classes]`; returns whether its shape permits.
///
/// One unit for two classes is the second's logit or probability. A final softmax or sigmoid stays
/// the last node, so that gradients are those of a logit.
pub(crate) fn wire_scores(
    model: &mut TypedModel,
    manifest: &Manifest,
    batch: usize,
) -> TractResult<bool> {
    let mut outputs = model.output_outlets()?.to_vec();
    let fact = model.outlet_fact(outputs[0])?.clone();
    let classes = manifest.classes.len();
    let Some(units) = units(&fact, batch) else { return Ok(false) };
    let is_one_of_two = units == 1 && classes == 2;
    let is_number = fact.datum_type.is_float() || fact.datum_type.is_integer();
    if !(is_number && (units == classes || is_one_of_two)) {
        return Ok(false);
    }
    if fact.datum_type == DatumType::F32 && fact.shape.as_concrete() == Some(&[1, classes]) {
        return Ok(true);
    }
    let last = last_activation(model, outputs[0], units)?;
    let mut scores = Scores { model, name: "scores".to_owned() };
    let row = scores.row(last.outlet, batch, units)?;
    outputs[0] = if is_one_of_two {
        scores.two_of_one(row, &last.activation, manifest.output)?
    } else {
        scores.activate(row, &last.activation)?
    };
    for other in &mut outputs[1..] {
        let shape = scores.model.outlet_fact(*other)?.shape.as_concrete().map(<[usize]>::to_vec);
        if batch > 1 && shape.is_some_and(|shape| shape.first() == Some(&batch)) {
            *other = scores.first_of_batch(*other)?;
        }
    }
    model.select_output_outlets(&outputs)?;
    Ok(true)
}

/// How many numbers one picture has, if all axes but one have length 1 (or are the batch).
fn units(fact: &TypedFact, batch: usize) -> Option<usize> {
    let shape = fact.shape.as_concrete()?;
    let of_one_picture = match (batch, shape.split_first()) {
        (1, _) => shape,
        (_, Some((first, rest))) if *first == batch => rest,
        _ => return None,
    };
    let mut long = of_one_picture.iter().copied().filter(|&length| length != 1);
    let units = long.next().unwrap_or(1);
    long.next().is_none().then_some(units)
}

enum Activation {
    None,
    Softmax,
    Sigmoid,
}

/// A final activation, and what it reads; the output itself if there is none.
struct Last {
    outlet: OutletId,
    activation: Activation,
}

/// Looks for a final activation, behind changes of axes and casts.
fn last_activation(model: &TypedModel, output: OutletId, units: usize) -> TractResult<Last> {
    let mut outlet = output;
    loop {
        let node = model.node(outlet.node);
        let passes_on = node.op_is::<AxisOp>() || node.op_is::<Cast>() || node.op_is::<Identity>();
        let is_float = model.outlet_fact(outlet)?.datum_type.is_float();
        if passes_on && is_float {
            outlet = node.inputs[0];
            continue;
        }
        let shape = &model.outlet_fact(outlet)?.shape;
        let activation = if let Some(softmax) = node.op_as::<Softmax>() {
            let axis = shape.iter().position(|dim| *dim == units.to_dim());
            let is_of_all = units == 1 || axis.is_some_and(|axis| softmax.axes.contains(&axis));
            match softmax.kind {
                SoftmaxKind::Softmax if is_of_all => Activation::Softmax,
                _ => Activation::None,
            }
        } else if node.op_as::<ElementWiseOp>().is_some_and(|op| op.0.is::<Sigmoid>()) {
            Activation::Sigmoid
        } else {
            Activation::None
        };
        return Ok(match activation {
            Activation::None => Last { outlet: output, activation },
            _ => Last { outlet: node.inputs[0], activation },
        });
    }
}

/// Appends nodes whose names begin with `name`.
struct Scores<'a> {
    model: &'a mut TypedModel,
    name: String,
}

impl Scores<'_> {
    fn wire(
        &mut self,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        // Unique: no other node has as many before it.
        let name = format!("{}.{}", self.name, self.model.nodes().len());
        Ok(self.model.wire_node(name, op, inputs)?[0])
    }

    fn constant(&mut self, value: f32) -> TractResult<OutletId> {
        let name = format!("{}.{}", self.name, self.model.nodes().len());
        self.model.add_const(name, tensor2(&[[value]]))
    }

    fn first_of_batch(&mut self, value: OutletId) -> TractResult<OutletId> {
        self.wire(Slice::new(0, 0, 1), &[value])
    }

    /// `[1, units]` of float32.
    fn row(&mut self, value: OutletId, batch: usize, units: usize) -> TractResult<OutletId> {
        let value = if batch > 1 { self.first_of_batch(value)? } else { value };
        let value = self.before_cast(value)?;
        let fact = self.model.outlet_fact(value)?.clone();
        let value = if fact.datum_type == DatumType::F32 {
            value
        } else {
            self.wire(cast(DatumType::F32), &[value])?
        };
        let to: TVec<TDim> = tvec!(1.to_dim(), units.to_dim());
        if fact.shape.dims() == &to[..] {
            return Ok(value);
        }
        self.wire(AxisOp::Reshape(0, fact.shape.to_tvec(), to), &[value])
    }

    /// What a final cast from float32 reads: it would be undone.
    fn before_cast(&self, value: OutletId) -> TractResult<OutletId> {
        let node = self.model.node(value.node);
        let Some(&input) = node.inputs.first().filter(|_| node.op_is::<Cast>()) else {
            return Ok(value);
        };
        let is_float = self.model.outlet_fact(value)?.datum_type.is_float();
        let is_wide = self.model.outlet_fact(input)?.datum_type == DatumType::F32;
        Ok(if is_float && is_wide { input } else { value })
    }

    fn activate(&mut self, row: OutletId, activation: &Activation) -> TractResult<OutletId> {
        match activation {
            Activation::None => Ok(row),
            Activation::Softmax => self.softmax(row),
            Activation::Sigmoid => self.wire(sigmoid(), &[row]),
        }
    }

    fn softmax(&mut self, row: OutletId) -> TractResult<OutletId> {
        let kind = SoftmaxKind::Softmax;
        self.wire(Softmax { axes: tvec!(1), quant_output_dt: None, kind }, &[row])
    }

    /// Two scores of one unit, the second class's. Logits are -z/2 and z/2: their softmax is the
    /// sigmoid of z, and each has a gradient.
    fn two_of_one(
        &mut self,
        unit: OutletId,
        activation: &Activation,
        output: Output,
    ) -> TractResult<OutletId> {
        let is_softmax = matches!(activation, Activation::Softmax);
        ensure!(!is_softmax, "its output is the softmax of one unit, which is always 1");
        let is_logit = matches!(activation, Activation::Sigmoid) || output == Output::Logits;
        let two = if is_logit {
            let half = self.constant(0.5)?;
            let second = self.wire(math::mul(), &[unit, half])?;
            let minus_half = self.constant(-0.5)?;
            let first = self.wire(math::mul(), &[unit, minus_half])?;
            self.wire(TypedConcat { axis: 1 }, &[first, second])?
        } else {
            let one = self.constant(1.0)?;
            let first = self.wire(math::sub(), &[one, unit])?;
            self.wire(TypedConcat { axis: 1 }, &[first, unit])?
        };
        if is_logit && output != Output::Logits { self.softmax(two) } else { Ok(two) }
    }
}
