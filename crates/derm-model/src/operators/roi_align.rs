//! `RoiAlign`: pools regions of a feature map, sampled between its pixels.

use super::bilinear::{Channel, Corners};
use super::single::{self, floats, shape};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

/// `RoiAlign-10` and `RoiAlign-16`.
pub(super) fn read(context: &ParsingContext<'_>, node: &NodeProto) -> super::Read {
    let first =
        if context.onnx_operator_set_version < 16 { "output_half_pixel" } else { "half_pixel" };
    let coordinates = node.get_attr_opt("coordinate_transformation_mode")?.unwrap_or(first);
    let mode = node.get_attr_opt("mode")?.unwrap_or("avg");
    let size = |name: &str| -> TractResult<usize> {
        let size = usize::try_from(node.get_attr_opt::<i64>(name)?.unwrap_or(1))?;
        ensure!((1..=4096).contains(&size), "{name} is {size}");
        Ok(size)
    };
    let samples = usize::try_from(node.get_attr_opt::<i64>("sampling_ratio")?.unwrap_or(0))?;
    ensure!(samples <= 64, "sampling_ratio is {samples}");
    single::read(RoiAlign {
        is_shifted: match coordinates {
            "half_pixel" => true,
            "output_half_pixel" => false,
            other => bail!("coordinate_transformation_mode {other}"),
        },
        is_max: match mode {
            "avg" => false,
            "max" => true,
            other => bail!("mode {other}"),
        },
        rows: size("output_height")?,
        columns: size("output_width")?,
        samples,
        scale_bits: node.get_attr_opt::<f32>("spatial_scale")?.unwrap_or(1.0).to_bits(),
    })
}

/// Operands: feature map `[batch, channels, height, width]`, regions `[n, 4]` (left, top, right,
/// bottom), and which of the batch each lies in `[n]`. Result: `[n, channels, rows, columns]`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RoiAlign {
    /// Whether pixel centres lie at halves.
    is_shifted: bool,
    is_max: bool,
    rows: usize,
    columns: usize,
    /// Samples along each side of a cell; 0: as many as it has pixels.
    samples: usize,
    /// The map's size over the regions' picture's, as the bits of a float32.
    scale_bits: u32,
}

impl Op for RoiAlign {
    fn name(&self) -> StaticName {
        "RoiAlign".into()
    }
    op_as_typed_op!();
}

impl TypedOp for RoiAlign {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs.len() == 3, "{} operands", inputs.len());
        ensure!(inputs[..2].iter().all(|fact| fact.datum_type == DatumType::F32), "not float32");
        let [_, channels, _, _] = shape(inputs[0])?;
        let [regions, four] = shape(inputs[1])?;
        ensure!(four == 4 && shape(inputs[2])? == [regions], "regions of another shape");
        Ok(tvec!(f32::fact([regions, channels, self.rows, self.columns])))
    }
    as_op!();
}

impl EvalOp for RoiAlign {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let &[batch, channels, height, width] = inputs[0].shape() else { bail!("a feature map") };
        ensure!(height > 0 && width > 0, "an empty feature map");
        let (map, regions) = (floats(&inputs[0])?, floats(&inputs[1])?);
        let places = inputs[2].cast_to::<i64>()?;
        let places = places.to_plain_array_view::<i64>()?;
        let mut result = Vec::new();
        for (region, &place) in regions.chunks_exact(4).zip(places.iter()) {
            let place = usize::try_from(place).ok().filter(|&place| place < batch);
            let place = place.context("a region of no picture")?;
            let cells = self.cells(region)?;
            for channel in 0..channels {
                let start = (place * channels + channel) * height * width;
                let values = &map[start..start + height * width];
                let channel = Channel { values, height, width };
                result.extend(cells.iter().map(|cell| self.pooled(cell, channel)));
            }
        }
        let shape = [places.len(), channels, self.rows, self.columns];
        Ok(tvec!(Tensor::from_shape(&shape, &result)?.into_tvalue()))
    }
}

/// A cell of a region: its place, height and width, and how many samples it has along each.
struct Cell {
    top: f32,
    left: f32,
    size: [f32; 2],
    samples: [usize; 2],
}

impl RoiAlign {
    /// The cells of a region, row by row.
    fn cells(&self, region: &[f32]) -> TractResult<Vec<Cell>> {
        let scale = f32::from_bits(self.scale_bits);
        let shift = if self.is_shifted { 0.5 } else { 0.0 };
        let [left, top, right, bottom] = [0, 1, 2, 3].map(|side| region[side] * scale - shift);
        let (mut height, mut width) = (bottom - top, right - left);
        if !self.is_shifted {
            (height, width) = (height.max(1.0), width.max(1.0));
        }
        let size = [height / self.rows as f32, width / self.columns as f32];
        let samples = size.map(|length| match self.samples {
            0 => length.ceil().max(0.0) as usize,
            given => given,
        });
        ensure!(samples.iter().all(|&count| count <= 4096), "a region of {height}x{width}");
        let cell = |row: usize, column: usize| Cell {
            top: top + row as f32 * size[0],
            left: left + column as f32 * size[1],
            size,
            samples,
        };
        let rows = 0..self.rows;
        Ok(rows.flat_map(|row| (0..self.columns).map(move |column| cell(row, column))).collect())
    }

    fn pooled(&self, cell: &Cell, channel: Channel<'_>) -> f32 {
        let [rows, columns] = cell.samples;
        let mut pooled: Option<f32> = None;
        for row in 0..rows {
            for column in 0..columns {
                let y = cell.top + (row as f32 + 0.5) * cell.size[0] / rows as f32;
                let x = cell.left + (column as f32 + 0.5) * cell.size[1] / columns as f32;
                let sample = self.sample(y, x, channel);
                pooled = Some(match pooled {
                    None => sample,
                    Some(so_far) if self.is_max => so_far.max(sample),
                    Some(so_far) => so_far + sample,
                });
            }
        }
        let pooled = pooled.unwrap_or(0.0);
        if self.is_max { pooled } else { pooled / (rows * columns).max(1) as f32 }
    }

    /// The interpolated value; for the maximum, the largest of the four weighted pixels.
    fn sample(&self, y: f32, x: f32, channel: Channel<'_>) -> f32 {
        let (height, width) = (channel.height, channel.width);
        let is_near = |at: f32, length: usize| at >= -1.0 && at <= length as f32;
        if !is_near(y, height) || !is_near(x, width) {
            return 0.0;
        }
        let clamp = |at: f32, length: usize| at.clamp(0.0, (length - 1) as f32);
        let corners = Corners::inside(clamp(y, height), clamp(x, width), height, width);
        let weighted = corners.of(channel);
        if self.is_max {
            weighted.into_iter().fold(f32::NEG_INFINITY, f32::max)
        } else {
            weighted.into_iter().sum()
        }
    }
}
