//! The plan of a convolution: its algorithm, chosen once for one geometry.

use super::call::{ConvCall, Operands, RowsCall};
use super::direct::Direct;
use super::weights::{ConvWeights, PackedConv};
use super::winograd::Winograd;
use crate::geometry::conv::ConvGeometry;
use std::fmt;
use std::ops::Range;

/// How a convolution of one geometry is computed with its weights.
#[derive(Debug, Clone)]
pub struct ConvPlan {
    conv: PackedConv,
    geometry: ConvGeometry,
    algorithm: Algorithm,
    /// Whether [`ConvPlan::run_rows`] may be called.
    is_by_rows: bool,
    units: usize,
    scratch_len: usize,
}

/// What the plan chose; the weights are packed for it.
#[derive(Debug, Clone, Copy)]
enum Algorithm {
    Direct(Direct),
    Winograd(Winograd),
    Depthwise,
}

impl ConvPlan {
    /// Chooses the fastest algorithm.
    ///
    /// # Panics
    /// If the weights were not packed for this geometry.
    pub fn new(conv: PackedConv, geometry: &ConvGeometry) -> ConvPlan {
        let algorithm = match &conv.weights {
            ConvWeights::Dense(weights) => {
                weights.check(geometry);
                match Winograd::new(weights, geometry) {
                    Some(winograd) => Algorithm::Winograd(winograd),
                    None => Algorithm::Direct(Direct::new(weights, geometry)),
                }
            }
            ConvWeights::Depthwise(_) => Algorithm::Depthwise,
        };
        let is_by_rows = matches!(algorithm, Algorithm::Depthwise);
        ConvPlan::with(conv, geometry, algorithm, is_by_rows)
    }

    /// A plan for [`ConvPlan::run_rows`]: an algorithm that can compute some rows at a time.
    ///
    /// # Panics
    /// If the weights were not packed for this geometry.
    pub fn by_rows(conv: PackedConv, geometry: &ConvGeometry) -> ConvPlan {
        let algorithm = match &conv.weights {
            ConvWeights::Dense(_) => Algorithm::Direct(Direct::BY_ROWS),
            ConvWeights::Depthwise(_) => Algorithm::Depthwise,
        };
        ConvPlan::with(conv, geometry, algorithm, true)
    }

    fn with(
        conv: PackedConv,
        geometry: &ConvGeometry,
        algorithm: Algorithm,
        is_by_rows: bool,
    ) -> ConvPlan {
        let (units, scratch_len) = match (&conv.weights, &algorithm) {
            (ConvWeights::Dense(weights), Algorithm::Direct(direct)) => {
                weights.check(geometry);
                (direct.units(weights, geometry), Direct::scratch_len(weights))
            }
            (ConvWeights::Dense(weights), Algorithm::Winograd(winograd)) => {
                (winograd.units(weights), winograd.scratch_len(weights))
            }
            (ConvWeights::Depthwise(weights), Algorithm::Depthwise) => {
                weights.check(geometry);
                (geometry.rows().output(), weights.scratch_len())
            }
            _ => unreachable!("the algorithm is chosen by the kind of weights"),
        };
        ConvPlan { conv, geometry: *geometry, algorithm, is_by_rows, units, scratch_len }
    }

    /// The geometry.
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// The weights and the bias.
    pub fn weights(&self) -> &PackedConv {
        &self.conv
    }

    /// Adds to the bias: a value for each output channel.
    ///
    /// # Panics
    /// If there are not as many.
    pub fn add_bias(&mut self, more: &[f32]) {
        self.conv.add_bias(more);
    }

    /// Parts into which the work can be divided: what [`crate::SharedOutput::part`] gives to threads.
    pub fn units(&self) -> usize {
        self.units
    }

    /// Float32 values of scratch that one thread needs.
    pub fn scratch_len(&self) -> usize {
        self.scratch_len
    }

    /// Floating-point operations of the convolution, by the definition: two for each multiply-add,
    /// whatever the algorithm saves.
    pub fn flops(&self) -> usize {
        self.geometry.flops()
    }

    /// Whether a plan made by [`ConvPlan::by_rows`] would cost about what this one does.
    pub fn can_run_by_rows(&self) -> bool {
        match (&self.conv.weights, &self.algorithm) {
            (_, Algorithm::Winograd(_)) => false,
            (ConvWeights::Dense(weights), _) => !weights.is_transposed(),
            (ConvWeights::Depthwise(_), _) => true,
        }
    }

    /// Computes the units of the output's part.
    ///
    /// # Panics
    /// If a slice does not have the length that the geometry or [`ConvPlan::scratch_len`] says, or the
    /// part has units that the plan does not have.
    pub fn run(&self, call: ConvCall<'_>) {
        let ConvCall { input, output, epilogue, scratch } = call;
        let units = output.units(self.units);
        let operands = Operands::whole(&self.geometry, input, &output, &self.conv.bias, epilogue);
        // SAFETY: the operands were just checked; the units are the part's, which nobody else may
        // touch (`SharedOutput::part`).
        unsafe { self.run_units(&operands, scratch, units) };
    }

    /// Computes some rows of the output, where only some rows of input or output are in memory.
    ///
    /// # Panics
    /// If the plan cannot run by rows, a ring does not have the geometry's columns and channels or has
    /// too few rows, the rows are not units of the output's part, an operand is added to an output
    /// that is not whole, or scratch is missing.
    pub fn run_rows(&self, call: RowsCall<'_>) {
        assert!(self.is_by_rows, "the plan cannot run by rows");
        let RowsCall { input, output, epilogue, scratch, rows } = call;
        let bias = &self.conv.bias;
        let operands = Operands::rows(&self.geometry, input, &output, bias, epilogue, &rows);
        // SAFETY: as in `run`; a unit of this plan is a row.
        unsafe { self.run_units(&operands, scratch, rows) };
    }

    /// # Safety
    /// The operands must be those of the geometry, and the output valid for writes to these units,
    /// which nobody else may touch.
    unsafe fn run_units(&self, operands: &Operands<'_>, scratch: &mut [f32], units: Range<usize>) {
        assert!(scratch.len() >= self.scratch_len);
        let geometry = &self.geometry;
        // SAFETY: the weights were checked against the geometry when the plan was made, the scratch
        // just now; the rest is the contract of this function.
        unsafe {
            match (&self.conv.weights, &self.algorithm) {
                (ConvWeights::Dense(weights), Algorithm::Direct(direct)) => {
                    direct.run(weights, geometry, operands, scratch, units);
                }
                (ConvWeights::Dense(weights), Algorithm::Winograd(winograd)) => {
                    winograd.run(weights, geometry, operands, scratch, units);
                }
                (ConvWeights::Depthwise(weights), _) => {
                    weights.run(geometry, operands, scratch, units);
                }
                (ConvWeights::Dense(_), Algorithm::Depthwise) => {
                    unreachable!("the algorithm is chosen by the kind of weights")
                }
            }
        }
    }
}

/// Algorithm, kernel, stride, channels and output pixels: `Winograd 3x3/1 48>64 at 1444`.
impl fmt::Display for ConvPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let geometry = &self.geometry;
        let (rows, columns) = (geometry.rows(), geometry.columns());
        let name = match self.algorithm {
            Algorithm::Depthwise => "depthwise",
            Algorithm::Winograd(_) => "Winograd",
            Algorithm::Direct(_) if geometry.taps() == 1 => "product",
            Algorithm::Direct(_) => "convolution",
        };
        let (inputs, outputs) = (geometry.inputs(), geometry.outputs());
        let pixels = rows.output() * columns.output();
        let (r, c, stride) = (rows.kernel(), columns.kernel(), rows.stride());
        write!(f, "{name} {r}x{c}/{stride} {inputs}>{outputs} at {pixels}")
    }
}
