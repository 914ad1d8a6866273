//! Running a convolution whole or in parts.

use derm_kernels::{
    ConvCall, ConvGeometry, ConvPlan, Epilogue, OutputPart, PackedConv, SharedOutput,
};

/// The output of a convolution, computed at once.
pub(crate) fn run(
    conv: PackedConv,
    geometry: &ConvGeometry,
    input: &[f32],
    epilogue: &[Epilogue<'_>],
) -> Vec<f32> {
    let plan = ConvPlan::new(conv, geometry);
    let mut values = vec![f32::NAN; geometry.output_len()];
    let mut scratch = vec![f32::NAN; plan.scratch_len()];
    let output = OutputPart::whole(&mut values);
    plan.run(ConvCall { input, output, epilogue, scratch: &mut scratch });
    values
}

/// The output of a convolution, computed in two parts.
pub(crate) fn run_in_parts(
    conv: PackedConv,
    geometry: &ConvGeometry,
    input: &[f32],
    epilogue: &[Epilogue<'_>],
    cut: usize,
) -> Vec<f32> {
    let plan = ConvPlan::new(conv, geometry);
    let mut values = vec![f32::NAN; geometry.output_len()];
    let shared = SharedOutput::new(&mut values);
    let mut scratch = vec![f32::NAN; plan.scratch_len()];
    let (units, cut) = (plan.units(), cut.min(plan.units()));
    for part in [0..cut, cut..units] {
        // SAFETY: one part is in use at a time.
        let output = unsafe { shared.part(part) };
        plan.run(ConvCall { input, output, epilogue, scratch: &mut scratch });
    }
    values
}
