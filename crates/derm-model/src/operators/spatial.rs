//! Operators on rows and columns: `AffineGrid`, `Col2Im`, `ConvTranspose`, `GridSample`, `Resize`, `Upsample`.

use super::body::{self, Call, With};
use super::pad::position;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

/// `AffineGrid-20`: where each place of a picture lies after a linear map: `[batch, ..., axes]`.
pub(super) fn affine_grid(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    let size = call.constant::<i64>(1)?.context("no size")?;
    ensure!(size.len() == 4 || size.len() == 5, "a size of {} axes", size.len());
    let (batch, lengths) = (size[0], &size[2..]);
    let is_outermost = call.int("align_corners")?.unwrap_or(0) != 0;
    let places = lengths
        .iter()
        .try_fold(1i64, |a, &b| a.checked_mul(b).filter(|_| b > 0))
        .context("a size")?;
    let axes = lengths.len() as i64;
    // Coordinates from -1 to 1, the last axis first, and a one for the offset.
    let coordinate = |place: i64, axis: i64| {
        let Some(axis) = usize::try_from(axes - 1 - axis).ok() else { return 1.0 };
        let within: i64 = lengths[axis + 1..].iter().product();
        let (at, length) = ((place / within % lengths[axis]) as f32, lengths[axis] as f32);
        match is_outermost {
            true if length == 1.0 => 0.0,
            true => 2.0 * at / (length - 1.0) - 1.0,
            false => (2.0 * at + 1.0) / length - 1.0,
        }
    };
    let points = (0..places).flat_map(|place| (0..=axes).map(move |axis| coordinate(place, axis)));
    let points = call.put_floats(&[1, places, axes + 1], points)?;
    let map = call.operand(0);
    let map = call.put("Transpose", &[&map], &[With::Ints("perm", &[0, 2, 1])]);
    let grid = call.put("MatMul", &[&points, &map], &[]);
    let shape: Vec<i64> =
        [batch].into_iter().chain(lengths.iter().copied()).chain([axes]).collect();
    Ok(vec![call.reshape(&grid, &shape)])
}

/// `Col2Im-18`: adds the columns of windows up to a picture, as a transposed convolution whose
/// kernels are one at one place each.
pub(super) fn col2im(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    let picture = call.constant::<i64>(1)?.context("no image_shape")?;
    let block = call.constant::<i64>(2)?.context("no block_shape")?;
    let axes = block.len();
    ensure!(picture.len() == axes, "image_shape and block_shape differ in length");
    let dilations = call.ints("dilations")?.unwrap_or_else(|| vec![1; axes]);
    let strides = call.ints("strides")?.unwrap_or_else(|| vec![1; axes]);
    let pads = call.ints("pads")?.unwrap_or_else(|| vec![0; 2 * axes]);
    ensure!(
        dilations.len() == axes && strides.len() == axes && pads.len() == 2 * axes,
        "attributes"
    );
    ensure!(strides.iter().all(|&stride| stride > 0), "a stride that is not positive");
    let volume = block
        .iter()
        .try_fold(1i64, |a, &b| a.checked_mul(b).filter(|_| b > 0))
        .context("a block_shape")?;
    let [batch, rows, _] = call.shape(0)?[..] else { bail!("an operand without three axes") };
    ensure!(rows % volume == 0, "{rows} rows for blocks of {volume}");
    let channels = rows / volume;
    let mut windows = vec![batch, rows];
    let mut left_over = Vec::new();
    for axis in 0..axes {
        let extent = dilations[axis] * (block[axis] - 1) + 1;
        let room = picture[axis] + pads[axis] + pads[axes + axis] - extent;
        ensure!(room >= 0, "blocks larger than the picture");
        windows.push(room / strides[axis] + 1);
        left_over.push(room % strides[axis]);
    }
    let shape: Vec<i64> = [rows, 1].into_iter().chain(block.iter().copied()).collect();
    let is_own = |row: i64, place: i64| if row % volume == place { 1.0 } else { 0.0 };
    let kernels = (0..rows).flat_map(|row| (0..volume).map(move |place| is_own(row, place)));
    let kernels = call.put_floats(&shape, kernels)?;
    let value = call.operand(0);
    let value = call.reshape(&value, &windows);
    let with = [
        With::Int("group", channels),
        With::Ints("kernel_shape", &block),
        With::Ints("dilations", &dilations),
        With::Ints("strides", &strides),
        With::Ints("pads", &pads),
        With::Ints("output_padding", &left_over),
    ];
    Ok(vec![call.put("ConvTranspose", &[&value, &kernels], &with)])
}

/// `Upsample-7` and `Upsample-9`: `Resize` as its first version was.
pub(super) fn upsample(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    let scales = match call.floats("scales")? {
        Some(scales) => scales,
        None => call.constant(1)?.context("no scales")?,
    };
    let mode = match call.text("mode")?.as_deref() {
        None | Some("nearest") => "nearest",
        Some("linear" | "bilinear") => "linear",
        Some(other) => bail!("mode {other}"),
    };
    let scales = call.put_floats(&[scales.len() as i64], scales)?;
    let value = call.operand(0);
    let with = [
        With::Text("mode", mode),
        With::Text("nearest_mode", "floor"),
        With::Text("coordinate_transformation_mode", "asymmetric"),
    ];
    Ok(vec![call.put("Resize", &[&value, "", &scales], &with)])
}

/// `GridSample`: tract takes other pixels than the standard at a border that is repeated, where it
/// interpolates with cubics.
pub(super) fn grid_sample(context: &ParsingContext<'_>, node: &NodeProto) -> super::Read {
    let mode = node.get_attr_opt::<String>("mode")?.unwrap_or_default();
    let padding = node.get_attr_opt::<String>("padding_mode")?.unwrap_or_default();
    let is_cubic = mode == "cubic" || mode == "bicubic";
    ensure!(
        !(is_cubic && padding == "border"),
        "mode {mode} with padding_mode border is not supported"
    );
    let own = context.framework.op_register.0.get("derm.GridSample");
    own.context("GridSample")?(context, node)
}

/// `Resize`: what tract computes otherwise than onnxruntime is written in another way, or refused.
pub(super) fn read_resize(context: &ParsingContext<'_>, node: &NodeProto) -> super::Read {
    let mode = node.get_attr_opt::<String>("mode")?.unwrap_or_default();
    let coordinates = node.get_attr_opt::<String>("coordinate_transformation_mode")?;
    let coordinates = coordinates.unwrap_or_default();
    let is_nearest = mode.is_empty() || mode == "nearest";
    let unsupported = coordinates == "half_pixel_symmetric" && is_nearest;
    ensure!(!unsupported, "mode nearest with {coordinates} is not supported");
    let is_last = coordinates == "align_corners" && context.onnx_operator_set_version >= 11;
    let is_cubic = coordinates == "pytorch_half_pixel" && mode == "cubic";
    if is_last || is_cubic {
        return body::read(context, node, resize);
    }
    let own = context.framework.op_register.0.get("derm.Resize");
    own.context("Resize")?(context, node)
}

/// By sizes instead of scales where corners are aligned: those of a result of whole pixels.
fn resize(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    let shape = call.shape(0)?;
    let axes = call.ints("axes")?.unwrap_or_else(|| (0..shape.len() as i64).collect());
    let mut operands: Vec<String> = (0..4).map(|position| call.operand(position)).collect();
    let coordinates = call.text("coordinate_transformation_mode")?.unwrap_or_default();
    let is_aligned = coordinates == "align_corners";
    let scales = call.constant::<f32>(2)?.filter(|scales| !scales.is_empty());
    let sizes = match (call.constant::<i64>(3)?, scales) {
        (Some(sizes), _) => sizes,
        (None, Some(scales)) => {
            ensure!(scales.len() == axes.len(), "{} scales for {} axes", scales.len(), axes.len());
            let mut sizes = Vec::new();
            for (axis, scale) in axes.iter().zip(scales) {
                sizes.push((shape[position(*axis, shape.len())?] as f32 * scale).floor() as i64);
            }
            if is_aligned {
                operands[2] = String::new();
                operands[3] = call.put_ints(&sizes);
            }
            sizes
        }
        (None, None) => bail!("neither scales nor sizes"),
    };
    if call.text("mode")?.as_deref() == Some("cubic") {
        let is_one = |(axis, &size): (&i64, &i64)| {
            Ok(size == 1 && shape[position(*axis, shape.len())?] != 1)
        };
        let shrinks = axes.iter().zip(&sizes).map(is_one).collect::<TractResult<Vec<bool>>>()?;
        let unsupported = coordinates == "pytorch_half_pixel" && shrinks.contains(&true);
        ensure!(
            !unsupported,
            "cubic interpolation to one value with pytorch_half_pixel is not supported"
        );
    }
    Ok(call.forward("derm.Resize", &operands, &[]))
}

/// `ConvTranspose` with a given shape of the result: by the padding that leads to it.
pub(super) fn read_conv_transpose(context: &ParsingContext<'_>, node: &NodeProto) -> super::Read {
    if node.get_attr_opt_vec::<i64>("output_shape")?.is_some() {
        return body::read(context, node, conv_transpose);
    }
    let own = context.framework.op_register.0.get("derm.ConvTranspose");
    own.context("ConvTranspose")?(context, node)
}

fn conv_transpose(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    let (shape, kernels) = (call.shape(0)?, call.shape(1)?);
    let wanted = call.ints("output_shape")?.context("no output_shape")?;
    let axes = shape.len().saturating_sub(2);
    ensure!(kernels.len() == shape.len() && wanted.len() >= axes, "ranks");
    let wanted = &wanted[wanted.len() - axes..];
    let ones = vec![1; axes];
    let strides = call.ints("strides")?.unwrap_or_else(|| ones.clone());
    let dilations = call.ints("dilations")?.unwrap_or(ones);
    let mut more = call.ints("output_padding")?.unwrap_or_else(|| vec![0; axes]);
    ensure!([&strides, &dilations, &more].iter().all(|list| list.len() == axes), "attributes");
    let is_upper = call.text("auto_pad")?.as_deref() == Some("SAME_UPPER");
    let mut pads = vec![0; 2 * axes];
    for axis in 0..axes {
        let extent = (kernels[axis + 2] - 1).saturating_mul(dilations[axis]) + 1;
        let whole = (shape[axis + 2] - 1).saturating_mul(strides[axis]);
        let surplus = whole.saturating_add(more[axis] + extent).saturating_sub(wanted[axis]);
        more[axis] += (-surplus).max(0);
        let (small, large) = (surplus.max(0) / 2, surplus.max(0) - surplus.max(0) / 2);
        (pads[axis], pads[axes + axis]) = if is_upper { (small, large) } else { (large, small) };
    }
    let operands: Vec<String> = (0..3).map(|position| call.operand(position)).collect();
    let operands: Vec<&str> =
        operands.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    let with = [
        With::Int("group", call.int("group")?.unwrap_or(1)),
        With::Ints("strides", &strides),
        With::Ints("dilations", &dilations),
        With::Ints("pads", &pads),
        With::Ints("output_padding", &more),
    ];
    Ok(vec![call.put("derm.ConvTranspose", &operands, &with)])
}
