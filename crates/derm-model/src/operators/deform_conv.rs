//! `DeformConv-19`: a convolution that reads each window's pixels at offsets computed from the
//! picture.

use super::bilinear::Channel;
use super::single::{self, floats, shape};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

pub(super) fn read(_: &ParsingContext<'_>, node: &NodeProto) -> super::Read {
    let pair = |name: &str| -> TractResult<[usize; 2]> {
        let given = node.get_attr_opt_vec::<i64>(name)?.unwrap_or_else(|| vec![1, 1]);
        positive(name, &given)?.try_into().map_err(|_| format_err!("{name}: not two numbers"))
    };
    let count = |name: &str| -> TractResult<usize> {
        let given = node.get_attr_opt::<i64>(name)?.unwrap_or(1);
        Ok(positive(name, &[given])?[0])
    };
    let pads = node.get_attr_opt_vec::<i64>("pads")?.unwrap_or_else(|| vec![0; 4]);
    let pads: Vec<usize> =
        pads.iter().map(|&pad| usize::try_from(pad)).collect::<Result<_, _>>()?;
    let has = |position: usize| node.input.get(position).is_some_and(|name| !name.is_empty());
    single::read(DeformConv {
        strides: pair("strides")?,
        dilations: pair("dilations")?,
        pads: pads.try_into().map_err(|_| format_err!("pads: not four numbers"))?,
        groups: count("group")?,
        offset_groups: count("offset_group")?,
        has_bias: has(3),
        has_mask: has(4),
    })
}

fn positive(name: &str, given: &[i64]) -> TractResult<Vec<usize>> {
    let fits = |&number: &i64| usize::try_from(number).ok().filter(|n| (1..=1 << 16).contains(n));
    given.iter().map(|number| fits(number).with_context(|| format!("{name} is {number}"))).collect()
}

/// Operands: picture `[batch, channels, height, width]`, kernels `[kernels, channels / groups,
/// rows, columns]`, offsets `[batch, offset_groups * rows * columns * 2, ...]`, and where they are
/// there, bias and mask.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DeformConv {
    strides: [usize; 2],
    dilations: [usize; 2],
    /// Top, left, bottom, right.
    pads: [usize; 4],
    groups: usize,
    offset_groups: usize,
    has_bias: bool,
    has_mask: bool,
}

impl Op for DeformConv {
    fn name(&self) -> StaticName {
        "DeformConv".into()
    }
    op_as_typed_op!();
}

impl TypedOp for DeformConv {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs.len() == 3 + usize::from(self.has_bias) + usize::from(self.has_mask));
        ensure!(inputs.iter().all(|fact| fact.datum_type == DatumType::F32), "not float32");
        let [batch, channels, height, width] = shape(inputs[0])?;
        let [kernels, per_group, rows, columns] = shape(inputs[1])?;
        ensure!(channels == per_group * self.groups, "kernels for other channels");
        ensure!(kernels % self.groups == 0 && channels % self.offset_groups == 0, "groups");
        let length = |axis: usize, size: usize, kernel: usize| {
            let room = size + self.pads[axis] + self.pads[axis + 2];
            let left = room.checked_sub(self.dilations[axis] * kernel.saturating_sub(1) + 1);
            left.map(|left| left / self.strides[axis] + 1)
                .context("a kernel larger than the picture")
        };
        let (down, across) = (length(0, height, rows)?, length(1, width, columns)?);
        let taps = self.offset_groups * rows * columns;
        ensure!(shape(inputs[2])? == [batch, 2 * taps, down, across], "offsets of another shape");
        if self.has_bias {
            ensure!(shape(inputs[3])? == [kernels], "a bias of another shape");
        }
        if self.has_mask {
            let mask = inputs.last().context("no mask")?;
            ensure!(shape(mask)? == [batch, taps, down, across], "a mask of another shape");
        }
        Ok(tvec!(f32::fact([batch, kernels, down, across])))
    }
    as_op!();
}

impl EvalOp for DeformConv {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (picture, kernels, offsets) = (&inputs[0], &inputs[1], &inputs[2]);
        let &[batch, channels, height, width] = picture.shape() else { bail!("a picture") };
        let &[count, per_group, rows, columns] = kernels.shape() else { bail!("kernels") };
        let &[_, _, down, across] = offsets.shape() else { bail!("offsets") };
        let area = down * across;
        let taps = rows * columns;
        let (pixels, weights) = (floats(picture)?, floats(kernels)?);
        let offsets = floats(offsets)?;
        let bias = if self.has_bias { Some(floats(&inputs[3])?) } else { None };
        let mask = inputs.last().filter(|_| self.has_mask).map(floats).transpose()?;
        let mut result = vec![0.0; batch * count * area];
        // What one channel's windows read: one row for each tap.
        let mut windows = vec![0.0; taps * area];
        for (item, result) in result.chunks_exact_mut(count * area).enumerate() {
            if let Some(bias) = bias {
                let rows = result.chunks_exact_mut(area);
                rows.zip(bias).for_each(|(row, &bias)| row.fill(bias));
            }
            for channel in 0..channels {
                let start = (item * channels + channel) * height * width;
                let values = &pixels[start..start + height * width];
                let group = channel / (channels / self.offset_groups);
                let first = (item * self.offset_groups + group) * taps * area;
                let moved = &offsets[2 * first..2 * (first + taps * area)];
                let mask = mask.map(|mask| &mask[first..first + taps * area]);
                let channel_of = Channel { values, height, width };
                let to = (area, &mut windows[..]);
                self.read_windows(channel_of, moved, mask, [columns, across], to);
                let group = channel / per_group;
                let share = count / self.groups;
                for kernel in group * share..(group + 1) * share {
                    let from = (kernel * per_group + channel % per_group) * taps;
                    let to = &mut result[kernel * area..(kernel + 1) * area];
                    for (window, &weight) in
                        windows.chunks_exact(area).zip(&weights[from..from + taps])
                    {
                        to.iter_mut().zip(window).for_each(|(to, &value)| *to += weight * value);
                    }
                }
            }
        }
        Ok(tvec!(Tensor::from_shape(&[batch, count, down, across], &result)?.into_tvalue()))
    }
}

impl DeformConv {
    /// Reads one channel at every tap of every window: `to` is `[taps, windows]`.
    fn read_windows(
        &self,
        channel: Channel<'_>,
        offsets: &[f32],
        mask: Option<&[f32]>,
        [columns, across]: [usize; 2],
        (area, to): (usize, &mut [f32]),
    ) {
        let at = |axis: usize, window: usize, tap: usize, offset: f32| {
            (window * self.strides[axis] + tap * self.dilations[axis]) as f32
                - self.pads[axis] as f32
                + offset
        };
        for (index, to) in to.iter_mut().enumerate() {
            let (tap, window) = (index / area, index % area);
            let offset = |axis: usize| offsets[(2 * tap + axis) * area + window];
            let y = at(0, window / across, tap / columns, offset(0));
            let x = at(1, window % across, tap % columns, offset(1));
            let weight = mask.map_or(1.0, |mask| mask[index]);
            *to = weight * channel.with_zeros_around(y, x);
        }
    }
}
