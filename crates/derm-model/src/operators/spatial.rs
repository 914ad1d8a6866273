//! Operators on rows and columns: `AffineGrid`, `Col2Im`, `Upsample`.

use super::body::{Call, With};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

/// `AffineGrid-20`: where each place of a picture lies after a linear map: `[batch, ..., axes]`.
pub(super) fn affine_grid(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    let size = call.constant::<i64>(1)?.context("no size")?;
    ensure!(size.len() == 4 || size.len() == 5, "a size of {} axes", size.len());
    let (batch, lengths) = (size[0], &size[2..]);
    let is_outermost = call.int("align_corners")?.unwrap_or(0) != 0;
    let places: i64 = lengths
        .iter()
        .try_fold(1i64, |a, &b| a.checked_mul(b).filter(|&n| b > 0 && n <= 1 << 24))
        .context("a size")?;
    // Coordinates from -1 to 1, the last axis first, and a one for the offset.
    let mut points = Vec::with_capacity(places as usize * (lengths.len() + 1));
    for place in 0..places {
        let mut rest = place;
        for &length in lengths.iter().rev() {
            let (at, length) = ((rest % length) as f32, length as f32);
            rest /= length as i64;
            points.push(match is_outermost {
                true if length == 1.0 => 0.0,
                true => 2.0 * at / (length - 1.0) - 1.0,
                false => (2.0 * at + 1.0) / length - 1.0,
            });
        }
        points.push(1.0);
    }
    let axes = lengths.len() as i64;
    let points = call.put_floats(&[1, places, axes + 1], points);
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
        .try_fold(1i64, |a, &b| a.checked_mul(b).filter(|&n| b > 0 && n <= 1 << 12))
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
    let mut kernels = vec![0.0; (rows * volume) as usize];
    for row in 0..rows {
        kernels[(row * volume + row % volume) as usize] = 1.0;
    }
    let shape: Vec<i64> = [rows, 1].into_iter().chain(block.iter().copied()).collect();
    let kernels = call.put_floats(&shape, kernels);
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
    let scales = call.put_floats(&[scales.len() as i64], scales);
    let value = call.operand(0);
    let with = [
        With::Text("mode", mode),
        With::Text("nearest_mode", "floor"),
        With::Text("coordinate_transformation_mode", "asymmetric"),
    ];
    Ok(vec![call.put("Resize", &[&value, "", &scales], &with)])
}
