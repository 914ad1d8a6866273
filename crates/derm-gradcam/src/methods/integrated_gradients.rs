//! Integrated gradients: Sundararajan, Taly and Yan, *Axiomatic Attribution for Deep Networks*,
//! 2017, arXiv:1703.01365, equation 3, by the midpoint rule. The baseline is zero after
//! normalisation: the mean colour of the training data where the manifest subtracts that.

use super::maps::{clipped, relu, sum_over_channels};
use super::probe::Probe;
use crate::Error;
use ndarray::{Array2, Array3};

/// Points on the line from the baseline to the input.
const STEPS: usize = 24;

/// Positive attributions, summed over channels.
pub(super) fn map(probe: &mut Probe<'_, '_>) -> Result<Array2<f32>, Error> {
    Ok(clipped(relu(sum_over_channels(&attributions(probe, STEPS)?))))
}

/// Attributions, `[channels, rows, columns]`; their sum approximates the logit's change from the
/// baseline.
fn attributions(probe: &mut Probe<'_, '_>, steps: usize) -> Result<Array3<f32>, Error> {
    let [rows, columns, channels] = probe.shape;
    let mut sum = Array3::<f32>::zeros((channels, rows, columns));
    for step in 0..steps {
        probe.report(step, steps)?;
        let share = (step as f32 + 0.5) / steps as f32;
        sum += &probe.gradient(|input| input.iter_mut().for_each(|value| *value *= share))?;
    }
    let picture = ndarray::ArrayView3::from_shape((rows, columns, channels), probe.input);
    let picture = picture.expect("as many values as pixels").permuted_axes([2, 0, 1]);
    Ok(sum * picture / steps as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Explainer, Layer};
    use derm_model::{EngineOptions, ModelSource, PackedWeightCache};

    /// The completeness axiom: attributions add up to the change of the logit.
    #[test]
    fn attributions_add_up() {
        let entry = derm_zoo::entry("mobilenetv3-l.opset13").unwrap();
        let source = ModelSource::at(entry.make(&derm_zoo::folder()).unwrap());
        let mut cache = PackedWeightCache::default();
        let explainer =
            Explainer::load(&source, &Layer::Input, &EngineOptions::default(), &mut cache).unwrap();
        let spec = &explainer.manifest().input;
        let picture = derm_zoo::picture(spec.shape());
        let mut input = vec![0.0; picture.len()];
        derm_model::channels_last(spec.layout, &picture, &mut input);
        let shape = [spec.height as usize, spec.width as usize, 3];
        let mut watch = |_, _| true;
        let mut evaluation = explainer.run(|to| to.copy_from_slice(&input)).unwrap();
        let mut probe = Probe {
            evaluation: &mut evaluation,
            input: &input,
            shape,
            class: 2,
            watch: &mut watch,
        };
        let change = probe.score(|_| {}).unwrap() - probe.score(|input| input.fill(0.0)).unwrap();
        let sum = attributions(&mut probe, 100).unwrap().sum();
        assert!((sum - change).abs() < 0.02 * change.abs(), "{sum} of {change}");
    }
}
