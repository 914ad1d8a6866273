//! Poolings: `AveragePool`, `MaxPool`, `LpPool`, `GlobalLpPool`, `MaxUnpool`.

use super::body::{Call, With};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

/// `AveragePool` and `MaxPool`. With `ceil_mode`, a window may be longer than the operand: it is cut to what lies inside.
/// (EfficientNets have one of as many rows as they have channels, for the whole picture.)
pub(super) fn pool(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    let shape = call.shape(0)?;
    let kernel = call.ints("kernel_shape")?.context("no kernel_shape")?;
    ensure!(shape.len() == kernel.len() + 2, "a kernel of another rank than the operand");
    let cut = cut_windows(call, &shape[2..], &kernel)?;
    // tract keeps a list of a window's places.
    call.room(&cut)?;
    let (operator, operand) = (format!("derm.{}", call.operator()), call.operand(0));
    let results = call.forward(&operator, &[operand], &["kernel_shape"]);
    call.give(&With::Ints("kernel_shape", &cut));
    Ok(results)
}

/// The lengths of windows without what lies beyond an operand of these lengths, where there is one window only.
fn cut_windows(call: &Call<'_>, lengths: &[i64], kernel: &[i64]) -> TractResult<Vec<i64>> {
    let axes = kernel.len();
    let of_axes = |name: &str, count: usize, default: i64| -> TractResult<Vec<i64>> {
        let given = call.ints(name)?.unwrap_or_else(|| vec![default; count]);
        ensure!(given.len() == count, "{name} of {} numbers", given.len());
        Ok(given)
    };
    let is_same = call.text("auto_pad")?.is_some_and(|auto| auto.starts_with("SAME"));
    if is_same || call.int("ceil_mode")?.unwrap_or(0) == 0 {
        return Ok(kernel.to_vec());
    }
    let (pads, strides) = (of_axes("pads", 2 * axes, 0)?, of_axes("strides", axes, 1)?);
    let dilations = of_axes("dilations", axes, 1)?;
    let cut = kernel.iter().enumerate().map(|(axis, &length)| {
        let room = lengths[axis].saturating_add(pads[axis]).saturating_add(pads[axes + axis]);
        let is_only = length > room && length.saturating_sub(room) <= strides[axis];
        if is_only && dilations[axis] == 1 { room.max(1) } else { length }
    });
    Ok(cut.collect())
}

/// `LpPool`: the p-norm of each window, as a convolution of `|x|^p` with ones.
pub(super) fn lp_pool(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    let shape = call.shape(0)?;
    let kernel = call.ints("kernel_shape")?.context("no kernel_shape")?;
    ensure!(shape.len() == kernel.len() + 2, "a kernel of another rank than the operand");
    ensure!(kernel.iter().all(|length| (1..=1 << 16).contains(length)), "a kernel's length");
    let ones = |call: &Call<'_>, name: &str| -> TractResult<Vec<i64>> {
        Ok(call.ints(name)?.unwrap_or_else(|| vec![1; kernel.len()]))
    };
    let (strides, dilations) = (ones(call, "strides")?, ones(call, "dilations")?);
    let mut pads = call.ints("pads")?.unwrap_or_else(|| vec![0; 2 * kernel.len()]);
    ensure!(strides.len() == kernel.len() && dilations.len() == kernel.len(), "strides, dilations");
    ensure!(strides.iter().chain(&dilations).all(|&step| step > 0), "a step that is not positive");
    ensure!(pads.len() == 2 * kernel.len(), "{} pads", pads.len());
    let auto = call.text("auto_pad")?.filter(|auto| auto != "NOTSET");
    if call.int("ceil_mode")?.unwrap_or(0) != 0 && auto.is_none() {
        for (axis, length) in kernel.iter().enumerate() {
            let extent = dilations[axis] * (length - 1) + 1;
            let room = shape[axis + 2] + pads[axis] + pads[kernel.len() + axis] - extent;
            // The last window is whole: what it lacks is padded.
            pads[kernel.len() + axis] += (-room).rem_euclid(strides[axis]);
        }
    }
    let p = call.int("p")?.unwrap_or(2);
    let powers = power(call, p)?;
    let channels = shape[1];
    let weights: Vec<i64> = [channels, 1].into_iter().chain(kernel.iter().copied()).collect();
    let weights = call.put_floats(&weights, std::iter::repeat(1.0))?;
    let mut with = vec![
        With::Int("group", channels),
        With::Ints("kernel_shape", &kernel),
        With::Ints("strides", &strides),
        With::Ints("dilations", &dilations),
    ];
    match &auto {
        Some(auto) => with.push(With::Text("auto_pad", auto)),
        None => with.push(With::Ints("pads", &pads)),
    }
    let sums = call.put("Conv", &[&powers, &weights], &with);
    Ok(vec![root(call, &sums, p)])
}

/// `GlobalLpPool-2`: the p-norm of each channel. (tract leaves out the root.)
pub(super) fn global_lp_pool(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    let p = call.int("p")?.unwrap_or(2);
    let axes: Vec<i64> = (2..call.shape(0)?.len() as i64).collect();
    let powers = power(call, p)?;
    let axes = call.put_ints(&axes);
    let sums = call.put("ReduceSum", &[&powers, &axes], &[]);
    Ok(vec![root(call, &sums, p)])
}

/// `|x|^p` of the first operand.
fn power(call: &mut Call<'_>, p: i64) -> TractResult<String> {
    ensure!(p > 0, "p is {p}");
    let value = call.operand(0);
    if p == 2 {
        return Ok(call.put("Mul", &[&value, &value], &[]));
    }
    let value = call.put("Abs", &[&value], &[]);
    if p == 1 {
        return Ok(value);
    }
    let exponent = call.put_float(p as f32);
    Ok(call.put("Pow", &[&value, &exponent], &[]))
}

fn root(call: &mut Call<'_>, value: &str, p: i64) -> String {
    match p {
        1 => call.put("Identity", &[value], &[]),
        2 => call.put("Sqrt", &[value], &[]),
        _ => {
            let exponent = call.put_float(1.0 / p as f32);
            call.put("Pow", &[value, &exponent], &[])
        }
    }
}

/// `MaxUnpool`: puts each value where `MaxPool` found it, zeros elsewhere. Indices count through the
/// whole result.
pub(super) fn max_unpool(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    let shape = call.shape(0)?;
    let kernel = call.ints("kernel_shape")?.context("no kernel_shape")?;
    ensure!(shape.len() == kernel.len() + 2, "a kernel of another rank than the operand");
    let strides = call.ints("strides")?.unwrap_or_else(|| vec![1; kernel.len()]);
    let pads = call.ints("pads")?.unwrap_or_else(|| vec![0; 2 * kernel.len()]);
    ensure!(strides.len() == kernel.len() && pads.len() == 2 * kernel.len(), "strides, pads");
    let mut result = shape[..2].to_vec();
    for (axis, length) in kernel.iter().enumerate() {
        let unpadded = (shape[axis + 2] - 1).checked_mul(strides[axis]).context("a stride")?;
        result.push(unpadded + length - pads[axis] - pads[kernel.len() + axis]);
    }
    let result = call.constant::<i64>(2)?.unwrap_or(result);
    ensure!(result.iter().all(|&length| length >= 0), "a result of shape {result:?}");
    let volume = result.iter().try_fold(1i64, |a, &b| a.checked_mul(b)).context("a result")?;
    let zero = call.put_floats(&[1], [0.0])?;
    let volume = call.put_ints(&[volume]);
    let zeros = call.put("Expand", &[&zero, &volume], &[]);
    let (values, indices) = (call.operand(0), call.operand(1));
    let (values, indices) = (call.reshape(&values, &[-1]), call.reshape(&indices, &[-1]));
    let flat = call.put("ScatterElements", &[&zeros, &indices, &values], &[With::Int("axis", 0)]);
    Ok(vec![call.reshape(&flat, &result)])
}
