//! One inference per model, on one thread.

#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use derm_model::{EngineOptions, Graph, ModelSource, PackedWeightCache, Plan};

const MODELS: [&str; 4] = [
    "efficientnet-lite0.opset13",
    "mobilenetv3-l.opset13",
    "resnet18.opset13",
    "efficientnetv2-s.opset13",
];

fn inference(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inference");
    group.sample_size(10);
    for entry in derm_benches::models(&MODELS) {
        let folder = entry.make_f16(&derm_zoo::folder()).expect("the zoo");
        let graph = Graph::load(&ModelSource::at(folder)).expect("a model");
        let input = derm_zoo::picture(graph.manifest().input.shape());
        let plan = Plan::new(&graph, &EngineOptions::default(), &mut PackedWeightCache::default())
            .expect("a plan");
        group.bench_function(entry.name, |bencher| {
            bencher.iter(|| plan.scores(&input).expect("scores"));
        });
    }
    group.finish();
}

criterion_group!(benches, inference);
criterion_main!(benches);
