//! Explanations against the prediction alone.

#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use derm_gradcam::{ExplainRequest, Explainers, Layer, Method};
use derm_model::{EngineOptions, Graph, ModelSource, channels_last};

const MODELS: [&str; 2] = ["efficientnet-lite0.opset13", "efficientnetv2-s.opset13"];

fn gradcam(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gradcam");
    group.sample_size(10);
    for entry in derm_benches::models(&MODELS) {
        let source = ModelSource::at(entry.make_f16(&derm_zoo::folder()).expect("the zoo"));
        let graph = Graph::load(&source).expect("a model");
        let explainers = Explainers::new(source, graph, EngineOptions::default()).expect("a plan");
        let base = explainers.base();
        let spec = &base.manifest().input;
        let input = derm_zoo::picture(spec.shape());
        let fill = |to: &mut [f32]| channels_last(spec.layout, &input, to);
        group.bench_function(format!("{}/predict", entry.name), |bencher| {
            bencher.iter(|| base.run(fill).expect("scores"));
        });
        let all: Vec<usize> = (0..7).collect();
        for (name, method, classes) in [
            ("and Grad-CAM", Method::GradCam, &all[..1]),
            ("and Grad-CAM of seven classes", Method::GradCam, &all[..]),
            ("and saliency", Method::Saliency, &all[..1]),
        ] {
            let request = ExplainRequest { method, layer: Layer::Last };
            group.bench_function(format!("{}/{name}", entry.name), |bencher| {
                let explainer = explainers.for_explaining(&request).expect("a plan");
                bencher.iter(|| {
                    let mut evaluation = explainer.run(fill).expect("scores");
                    evaluation.explain(method, classes, &fill, &mut |_, _| true).expect("heatmaps")
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, gradcam);
criterion_main!(benches);
