//! What does Grad-CAM at the last feature map cost beside the prediction it explains?

#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use derm_gradcam::{Explainer, Layer};
use derm_model::{ModelSource, Settings, channels_last};

const MODELS: [&str; 2] = ["efficientnet-lite0.opset13", "efficientnetv2-s.opset13"];

fn gradcam(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gradcam");
    group.sample_size(10);
    for entry in derm_benches::models(&MODELS) {
        let folder = entry.make_f16(&derm_zoo::folder()).expect("the zoo");
        let source = ModelSource::at(folder);
        let explainer =
            Explainer::load(&source, &Layer::Last, &Settings::default()).expect("a model");
        let spec = &explainer.manifest().input;
        let input = derm_zoo::picture(spec.shape());
        let fill = |to: &mut [f32]| channels_last(spec.layout, &input, to);
        group.bench_function(format!("{}/predict", entry.name), |bencher| {
            bencher.iter(|| explainer.run(fill).expect("scores"));
        });
        group.bench_function(format!("{}/predict and explain", entry.name), |bencher| {
            bencher.iter(|| {
                let evaluation = explainer.run(fill).expect("scores");
                explainer.grad_cam(&evaluation, 0).expect("a heatmap")
            });
        });
        let evaluation = explainer.run(fill).expect("scores");
        group.bench_function(format!("{}/explain alone", entry.name), |bencher| {
            bencher.iter(|| explainer.grad_cam(&evaluation, 0).expect("a heatmap"));
        });
    }
    group.finish();
}

criterion_group!(benches, gradcam);
criterion_main!(benches);
