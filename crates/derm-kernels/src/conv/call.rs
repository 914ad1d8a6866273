//! What a convolution is called with.

use super::epilogue::Epilogue;
use super::output::OutputPart;
use crate::geometry::conv::ConvGeometry;
use crate::ring::Ring;
use std::ops::Range;

/// A call of [`crate::ConvPlan::run`]: all of the input and the output are in memory.
#[derive(Debug)]
pub struct ConvCall<'a> {
    /// The input, `[rows, columns, inputs]`.
    pub input: &'a [f32],
    /// The units of the output, `[rows, columns, outputs]`, that are computed.
    pub output: OutputPart<'a>,
    /// Operations on the sums, in order.
    pub epilogue: &'a [Epilogue<'a>],
    /// As many values as [`crate::ConvPlan::scratch_len`]; what they hold does not matter.
    pub scratch: &'a mut [f32],
}

/// A call of [`crate::ConvPlan::run_rows`]: only some rows of input or output are in memory.
#[derive(Debug)]
pub struct RowsCall<'a> {
    /// The input, of which the rows must be there that [`crate::WindowAxis::needed`] names.
    pub input: Ring<&'a [f32]>,
    /// The output; of one that is shared, a unit is a row.
    pub output: Ring<OutputPart<'a>>,
    /// Operations on the sums, in order. Operands are allowed only where all of the output is in
    /// memory.
    pub epilogue: &'a [Epilogue<'a>],
    /// As many values as [`crate::ConvPlan::scratch_len`]; what they hold does not matter.
    pub scratch: &'a mut [f32],
    /// The output rows that are computed.
    pub rows: Range<usize>,
}

/// Input and output of a kernel, checked: what [`Operands::whole`] and [`Operands::rows`] assert is
/// what every kernel of a convolution relies on.
///
/// - `input` has `held_rows` rows of the geometry's columns and input channels, so that every index
///   of a pixel that [`crate::WindowAxis::input_index`] finds, its row modulo `held_rows`, lies inside.
/// - `output` is valid for writes to the elements of the units of the call, for the same reason.
/// - `bias` has a value for each output channel.
/// - Operands of the epilogue have the output's length, or there are none.
///
/// A kernel that is given units of the call therefore needs no check of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operands<'a> {
    pub(super) input: Ring<&'a [f32]>,
    pub(super) output: Ring<*mut f32>,
    pub(super) bias: &'a [f32],
    pub(super) epilogue: &'a [Epilogue<'a>],
}

impl<'a> Operands<'a> {
    /// Operands that are whole.
    ///
    /// # Panics
    /// If a length is not the geometry's.
    pub(super) fn whole(
        geometry: &ConvGeometry,
        input: &'a [f32],
        output: &OutputPart<'a>,
        bias: &'a [f32],
        epilogue: &'a [Epilogue<'a>],
    ) -> Operands<'a> {
        assert_eq!(input.len(), geometry.input_len());
        assert_eq!(output.len(), geometry.output_len());
        assert_eq!(bias.len(), geometry.outputs());
        assert!(epilogue.iter().all(|operation| operation.fits(Some(geometry.output_len()))));
        Operands {
            input: Ring { values: input, held_rows: geometry.rows().input() },
            output: Ring { values: output.start(), held_rows: geometry.rows().output() },
            bias,
            epilogue,
        }
    }

    /// Operands for the output rows `rows`.
    ///
    /// # Panics
    /// If a ring does not have the geometry's columns and channels, or too few rows for `rows`; if
    /// `rows` are not units of the output; or if there is an operand and the output is not whole.
    pub(super) fn rows(
        geometry: &ConvGeometry,
        input: Ring<&'a [f32]>,
        output: &Ring<OutputPart<'a>>,
        bias: &'a [f32],
        epilogue: &'a [Epilogue<'a>],
        rows: &Range<usize>,
    ) -> Operands<'a> {
        let (axis, columns) = (geometry.rows(), geometry.columns());
        let fits =
            |len: usize, held_rows: usize, row: usize| held_rows.checked_mul(row) == Some(len);
        assert!(fits(input.values.len(), input.held_rows, columns.input() * geometry.inputs()));
        assert!(axis.needed(rows).len() <= input.held_rows);
        let row = columns.output() * geometry.outputs();
        assert!(fits(output.values.len(), output.held_rows, row));
        let is_whole = output.held_rows == axis.output();
        // Rows of a ring share memory: it must be this call's alone.
        assert!(is_whole || output.values.is_whole() && rows.len() <= output.held_rows);
        let units = output.values.units(axis.output());
        assert!(rows.is_empty() || units.start <= rows.start && rows.end <= units.end);
        assert_eq!(bias.len(), geometry.outputs());
        let length = is_whole.then(|| geometry.output_len());
        assert!(epilogue.iter().all(|operation| operation.fits(length)));
        let output = Ring { values: output.values.start(), held_rows: output.held_rows };
        Operands { input, output, bias, epilogue }
    }
}
