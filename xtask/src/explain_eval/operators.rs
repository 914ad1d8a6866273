//! Operators that can be differentiated, with their errors against PyTorch.

use anyhow::ensure;
use derm_gradcam::{Explainer, Layer};
use derm_model::{EngineOptions, ModelSource, PackedWeightCache};
use derm_zoo::{operator_picture, operators, relative_error};

pub(super) fn print() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut worst = 0f64;
    println!("operator                 relative error of the gradient against PyTorch");
    for operator in operators()? {
        let source = ModelSource::at(operator.make(folder.path())?);
        let (settings, mut kernels) = (EngineOptions::default(), PackedWeightCache::default());
        let explainer = Explainer::load(&source, &Layer::Input, &settings, &mut kernels)?;
        let mut evaluation = explainer.run(operator_picture)?;
        evaluation.run_backward(0)?;
        let error = relative_error(&evaluation.gradients()?, &operator.gradient);
        println!("{:24} {error:.1e}", operator.name);
        worst = worst.max(error);
    }
    ensure!(worst <= 1e-5, "an operator is off by {worst:e}");
    Ok(())
}
